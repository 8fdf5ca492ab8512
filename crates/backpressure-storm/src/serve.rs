//! `serve`: the demo service, its dependency, its clients and the dashboard, with controls for all of them.

mod clients;
mod controls;
mod pages;
mod service;

use self::clients::Clients;
use self::controls::Controls;
use crate::Outcome;
use crate::bench::Bench;
use crate::timing::Timing;
use clap::Args;
use std::sync::Arc;

/// Options of `serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeOptions {
    /// Port of the page on loopback; 0 takes a free one
    #[arg(long, default_value_t = 3000, value_name = "PORT")]
    port: u16,
}

/// Serves until it is interrupted.
pub(crate) fn run(options: &ServeOptions) -> Outcome<()> {
    let bench = Bench::set_up(Timing::of(true));
    crate::runtime()?.block_on(serve(&bench, options.port))
}

async fn serve(bench: &Bench, port: u16) -> Outcome<()> {
    let listener = crate::server::bind(port).await?;
    let controls = Arc::new(Controls::default());
    let dependency = bench.serve(|| service::dependency(Arc::clone(&controls))).await?;
    let service =
        bench.serve(|| service::service(&controls, dependency.address, bench.connections)).await?;
    let clients = Clients::start(bench, &service, Arc::clone(&controls));
    println!("http://{}/", listener.local_addr()?);
    let router = pages::router(controls, clients.history());
    let page = tokio::spawn(async move { axum::serve(listener, router).await });
    crate::interrupt::interrupted().await;
    page.abort();
    drop(clients);
    service.stop().await;
    dependency.stop().await;
    Ok(())
}
