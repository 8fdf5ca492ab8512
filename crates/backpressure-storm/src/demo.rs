//! `demo`: the service of the main job behind a stack of layers, on a port, to try `storm URL` on.

use crate::Outcome;
use crate::bench::Bench;
use crate::handler::{Handler, Work};
use crate::stack::Stack;
use crate::timing::Timing;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use clap::{Args, ValueEnum};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::sleep;

/// Options of `demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoOptions {
    /// Port on loopback; 0 takes a free one
    #[arg(long, default_value_t = 3000, value_name = "PORT")]
    port: u16,
    /// What the service does
    #[arg(long, value_enum, default_value = "pool", value_name = "HANDLER")]
    handler: DemoHandler,
    /// The layers in front of it
    #[arg(long, value_enum, default_value = "bare", value_name = "STACK")]
    stack: Stack,
    /// Limit of tower's layers
    #[arg(long, default_value_t = 16, value_name = "NUMBER")]
    limit: usize,
}

/// What the demo service does with a request.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum DemoHandler {
    /// 5 ms of CPU, never awaits
    Cpu,
    /// Four times 1 ms of CPU and 10 ms of sleep
    Mix,
    /// Waits for one of four connections to a slow database and keeps it for 40 ms, even if the client has left:
    /// 100 requests a second, whatever else the machine does
    Pool,
}

const POOL_CONNECTIONS: usize = 4;
const QUERY_MS: u64 = 40;

impl DemoHandler {
    fn router(self, bench: &Bench) -> Router {
        match self {
            Self::Cpu => bench.router(Handler::Cpu),
            Self::Mix => bench.router(Handler::Mix),
            Self::Pool => {
                let pool = Arc::new(Semaphore::new(POOL_CONNECTIONS));
                Router::new().route("/work", get(query)).with_state((pool, Arc::clone(&bench.work)))
            }
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Mix => "mix",
            Self::Pool => "pool",
        }
    }
}

/// A query that is not cancelled when its client leaves, as with most databases.
async fn query(State((pool, work)): State<(Arc<Semaphore>, Arc<Work>)>) -> &'static str {
    let query = tokio::spawn(async move {
        let _connection = pool.acquire_owned().await;
        sleep(Duration::from_millis(QUERY_MS * work.factor())).await;
    });
    let _ended = query.await;
    "done"
}

/// Largest factor of the work: longer would look like a service that hangs.
const MAX_FACTOR: u64 = 100;

/// Serves until it is interrupted. `/work` is the service; `POST /factor/8` makes its work take eight times as long,
/// and is not behind the layers.
pub(crate) fn run(options: &DemoOptions) -> Outcome<()> {
    let bench = Bench::set_up(Timing::of(true));
    crate::runtime()?.block_on(async {
        let router = || {
            let service = options.stack.wrap(options.handler.router(&bench), options.limit);
            service.merge(controls(&bench.work))
        };
        let server = bench.serve_on(options.port, router).await?;
        println!(
            "{} behind {}: http://{}/work",
            options.handler.name(),
            options.stack.name(),
            server.address
        );
        crate::interrupt::interrupted().await;
        server.stop().await;
        Ok(())
    })
}

fn controls(work: &Arc<Work>) -> Router {
    Router::new().route("/factor/{factor}", post(set_factor)).with_state(Arc::clone(work))
}

async fn set_factor(State(work): State<Arc<Work>>, Path(factor): Path<u64>) -> String {
    let factor = factor.clamp(1, MAX_FACTOR);
    work.slow_down(factor);
    format!("work takes {factor} times as long\n")
}
