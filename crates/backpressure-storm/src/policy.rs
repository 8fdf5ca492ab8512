//! `policy`: checks a policy file, says what a request would meet, and prints the format.

use crate::Outcome;
use crate::text::parse_field;
use clap::{Args, Subcommand};
use http::header::HOST;
use http::{HeaderValue, Method, Request, Uri};
use std::path::PathBuf;
use std::process::ExitCode;
use tower_backpressure::policy::PolicySet;
use tower_backpressure::{CRITICALITY, Priority, RequestInfo, Tenant};

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Say what is wrong with a file, and what a request would meet
    Check(Box<Check>),
    /// Print the JSON schema of the file, for editors
    Schema,
    /// Print all fields, with form, meaning and default
    Fields,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The policy file
    file: PathBuf,
    /// The method of the request
    #[arg(long, default_value = "GET")]
    method: Method,
    /// The path of the request; without it, only the file is checked
    #[arg(long)]
    path: Option<Uri>,
    /// The host of the request
    #[arg(long)]
    host: Option<HeaderValue>,
    /// The tenant, as the service names it with `Tenant::new`
    #[arg(long)]
    tenant: Option<String>,
    /// The priority: critical, normal, deferrable or sheddable
    #[arg(long)]
    priority: Option<String>,
    /// A header of the request, as `name: value`
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
}

/// Exit codes: 0, the file is good; 1, it is wrong; 2, the command is.
pub(crate) fn run(command: &PolicyCommand) -> Outcome<ExitCode> {
    match command {
        PolicyCommand::Schema => print!("{}", PolicySet::schema()),
        PolicyCommand::Fields => print!("{}", PolicySet::fields()),
        PolicyCommand::Check(check) => {
            let policies = match PolicySet::load(&check.file) {
                Ok(policies) => policies,
                Err(error) => {
                    eprintln!("{error}");
                    return Ok(ExitCode::FAILURE);
                }
            };
            let request = check.request()?;
            println!("{}: good", check.file.display());
            if check.path.is_some() {
                println!("{} {}", request.method(), request.uri());
                print!("{}", policies.explain(&request));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Check {
    fn request(&self) -> Outcome<Request<()>> {
        let mut request = Request::new(());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.path.clone().unwrap_or_default();
        if let Some(host) = &self.host {
            request.headers_mut().insert(HOST, host.clone());
        }
        for header in &self.header {
            let (name, value) =
                parse_field(header).map_err(|why| format!("--header {header:?}: {why}"))?;
            request.headers_mut().append(name, value);
        }
        let mut info = RequestInfo::default();
        let criticality = request.headers().get(CRITICALITY).and_then(|value| value.to_str().ok());
        if let Some(name) = self.priority.as_deref().or(criticality) {
            info = info.priority(priority(name)?);
        }
        if let Some(tenant) = &self.tenant {
            info = info.tenant(Tenant::new(&**tenant));
        }
        request.extensions_mut().insert(info);
        Ok(request)
    }
}

fn priority(name: &str) -> Result<Priority, String> {
    match name.to_ascii_lowercase().as_str() {
        "critical" => Ok(Priority::Critical),
        "normal" => Ok(Priority::Normal),
        "deferrable" => Ok(Priority::Deferrable),
        "sheddable" => Ok(Priority::Sheddable),
        other => {
            Err(format!("a priority is critical, normal, deferrable or sheddable, found {other:?}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Command, Options};

    fn check(arguments: &[&str]) -> Box<Check> {
        let command = [&["policy", "check", "file.toml"], arguments].concat();
        match Options::command(&command) {
            Ok(Command::Policy { command: PolicyCommand::Check(check) }) => check,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_request_is_that_of_the_arguments() {
        let arguments =
            ["--method", "POST", "--path", "/pay", "--host", "api", "--tenant", "batch"];
        let request = check(&arguments).request().expect("a request");
        assert_eq!((request.method(), request.uri().path()), (&Method::POST, "/pay"));
        assert_eq!(request.headers()[HOST], "api");
        let info = RequestInfo::of(request.extensions());
        assert_eq!(info.tenant, Some(Tenant::new("batch")));
        let request = check(&["--header", "X-Criticality: critical"]).request().expect("a request");
        assert_eq!(RequestInfo::of(request.extensions()).priority, Priority::Critical);
        for wrong in [["--header", "x"], ["--header", "a b: c"], ["--priority", "high"]] {
            assert!(check(&wrong).request().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_an_error_and_no_panic() {
        assert!(run(&PolicyCommand::Check(check(&[]))).is_ok());
    }
}
