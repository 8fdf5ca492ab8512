//! What an operator may do, and how it is made sure that an operator wants it.

pub(crate) mod reload;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::http::header;
use axum::http::request::Parts;
use serde::Deserialize;
use tower_backpressure::Handle;
use tower_backpressure::observe::{Kind, Registry};
use tower_backpressure::server::QuotaHandle;

use self::reload::Reload;

/// What an operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Pins the limit to this number.
    Pin(usize),
    /// Lets the limit move again.
    Unpin,
    /// Switches the dry run on or off.
    DryRun(bool),
    /// A soft stop: requests wait for this time.
    Pause(Duration),
    /// A hard stop: requests are rejected, queued ones too.
    Stop,
    /// New requests are rejected, and queued ones served.
    Drain,
    /// Ends a pause, a stop or a drain.
    Resume,
    /// Calls what [`reload`](crate::Dashboard::reload) was given.
    Reload,
}

/// An action, and the policy that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Command {
    /// What is asked for.
    pub action: Action,
    /// Number, kind and name of the policy; `None` for [`Action::Reload`].
    pub policy: Option<(u64, Kind, Arc<str>)>,
}

/// An action that was asked for, for [`audit`](crate::Dashboard::audit).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Audit {
    /// The name that the authoriser returned; `None`: it refused.
    pub operator: Option<String>,
    /// What was asked for.
    pub command: Command,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It was done.
    Done,
    /// The authoriser refused it.
    Refused,
    /// It could not be done, and why.
    Failed(String),
}

/// What operators may do.
#[derive(Clone, Default)]
pub(crate) struct Operations {
    pub(crate) authorise: Option<Authoriser>,
    pub(crate) audit: Option<Arc<Auditor>>,
    pub(crate) reload: Option<Reload>,
}

type Auditor = dyn Fn(&Audit) + Send + Sync;
type Authorise = dyn Fn(&Parts, &Command) -> Option<String> + Send + Sync;

#[derive(Clone)]
pub(crate) struct Authoriser(pub(crate) Arc<Authorise>);

/// The body of a request for an action.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    action: String,
    policy: Option<u64>,
    limit: Option<usize>,
    on: Option<bool>,
    seconds: Option<f64>,
}

/// A request for an action must have this header. A page of another site cannot send it without asking first, and this
/// server allows no other site anything.
pub(crate) const ACTION_HEADER: &str = "x-backpressure-action";
/// Longer pauses are a stop: what waits for more than ten minutes has no caller any more.
const MAX_PAUSE: Duration = Duration::from_secs(600);

impl Operations {
    /// The names of the actions that there are; none where there is no authoriser.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        if self.authorise.is_none() {
            return Vec::new();
        }
        let mut names = vec!["pin", "unpin", "dry_run", "pause", "stop", "drain", "resume"];
        names.extend(self.reload.is_some().then_some("reload"));
        names
    }

    /// Does what is asked for, if the authoriser agrees.
    pub(crate) async fn run(&self, head: &Parts, command: Command) -> Audit {
        let Some(Authoriser(authorise)) = &self.authorise else {
            return Audit { operator: None, command, outcome: Outcome::Refused };
        };
        let operator = authorise(head, &command);
        let outcome = match operator {
            None => Outcome::Refused,
            Some(_) => {
                self.perform(&command).await.map_or_else(Outcome::Failed, |()| Outcome::Done)
            }
        };
        let audit = Audit { operator, command, outcome };
        audit.emit();
        if let Some(tell) = &self.audit {
            tell(&audit);
        }
        audit
    }

    async fn perform(&self, command: &Command) -> Result<(), String> {
        match &command.policy {
            Some((id, kind, _)) => operate(*id, *kind, command.action),
            None => self.reload.as_ref().ok_or("there is nothing to reload")?.run().await,
        }
    }
}

/// Does what is asked of one policy.
fn operate(id: u64, kind: Kind, action: Action) -> Result<(), String> {
    if kind == Kind::Quota {
        let Action::DryRun(on) = action else {
            return Err("a quota can be switched to a dry run, and nothing else".to_owned());
        };
        let handle = QuotaHandle::all().into_iter().find(|handle| handle.id() == id);
        handle.ok_or("the policy has ended")?.set_dry_run(on);
        return Ok(());
    }
    if kind.is_client() {
        return Err("layers of clients cannot be operated while they run".to_owned());
    }
    let handle = Handle::all().into_iter().find(|handle| handle.id() == id);
    let handle = handle.ok_or("the policy has ended")?;
    match action {
        Action::Pin(limit) => handle.pin(limit),
        Action::Unpin => handle.unpin(),
        Action::DryRun(on) => handle.set_dry_run(on),
        Action::Pause(time) => handle.pause(time),
        Action::Stop => handle.stop(),
        Action::Drain => handle.drain(),
        Action::Resume => handle.resume(),
        Action::Reload => return Err("a reload has no policy".to_owned()),
    }
    Ok(())
}

impl Asked {
    /// The command, or what is wrong with it.
    pub(crate) fn command(self) -> Result<Command, String> {
        let limit = || match self.limit {
            Some(limit @ 1..=1_000_000) => Ok(limit),
            _ => Err("limit must be in 1..=1000000"),
        };
        let pause = || match self.seconds {
            Some(seconds) if seconds > 0.0 && seconds <= MAX_PAUSE.as_secs_f64() => {
                Ok(Duration::from_secs_f64(seconds))
            }
            _ => Err("seconds must be above 0, and 600 at most"),
        };
        let action = match &*self.action {
            "pin" => Action::Pin(limit()?),
            "unpin" => Action::Unpin,
            "dry_run" => Action::DryRun(self.on.ok_or("on must be true or false")?),
            "pause" => Action::Pause(pause()?),
            "stop" => Action::Stop,
            "drain" => Action::Drain,
            "resume" => Action::Resume,
            "reload" => return Ok(Command { action: Action::Reload, policy: None }),
            _ => return Err("there is no such action".to_owned()),
        };
        let id = self.policy.ok_or("policy must be the number of a policy")?;
        let report = Registry::global().report(id).ok_or("there is no such policy")?;
        Ok(Command { action, policy: Some((id, report.kind, report.name)) })
    }
}

impl Action {
    /// A few words for the journal and the log.
    pub(crate) fn describe(self) -> String {
        match self {
            Self::Pin(limit) => format!("pin the limit to {limit}"),
            Self::Unpin => "unpin the limit".to_owned(),
            Self::DryRun(true) => "switch the dry run on".to_owned(),
            Self::DryRun(false) => "switch the dry run off".to_owned(),
            Self::Pause(time) => format!("pause for {} s", time.as_secs_f64()),
            Self::Stop => "stop".to_owned(),
            Self::Drain => "drain".to_owned(),
            Self::Resume => "resume".to_owned(),
            Self::Reload => "reload the policies".to_owned(),
        }
    }
}

impl Audit {
    fn emit(&self) {
        let action = self.command.action.describe();
        let policy = self.command.policy.as_ref().map(|(_, _, name)| &**name);
        let operator = self.operator.as_deref();
        match &self.outcome {
            Outcome::Done => {
                tracing::info!(action, policy, operator, "operator action");
            }
            Outcome::Refused => {
                tracing::warn!(action, policy, operator, "operator action refused");
            }
            Outcome::Failed(error) => {
                tracing::warn!(action, policy, operator, error, "operator action failed");
            }
        }
    }
}

/// Why a request for an action may come from another site; `None`: it does not.
///
/// A form can send neither the header nor JSON. A script of another site would have to ask before (CORS), and a browser
/// says where a request comes from.
pub(crate) fn forgery(head: &Parts) -> Option<&'static str> {
    const ELSEWHERE: Option<&str> = Some("the request comes from another site");
    let headers = &head.headers;
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if !headers.contains_key(ACTION_HEADER) {
        return Some("the header x-backpressure-action is missing");
    }
    let content_type = text(header::CONTENT_TYPE.as_str()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Some("the content type must be application/json");
    }
    // A browser that says it by itself has compared the hosts that it knows: a proxy may change the one that is sent.
    match text("sec-fetch-site") {
        Some("same-origin") => return None,
        Some(_) => return ELSEWHERE,
        None => {}
    }
    let origin = text(header::ORIGIN.as_str())?;
    let authority = origin.split_once("://").map_or(origin, |(_, authority)| authority);
    // HTTP/2 has the host in its target. No script can send the header of proxies without asking before.
    let target = head.uri.authority().map(|authority| authority.as_str());
    let hosts = [target, text(header::HOST.as_str()), text("x-forwarded-host")];
    let is_host = |host: &&str| authority.eq_ignore_ascii_case(host);
    match hosts.iter().flatten().any(is_host) {
        true => None,
        false => ELSEWHERE,
    }
}

impl fmt::Debug for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operations")
            .field("names", &self.names())
            .field("is_audited", &self.audit.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    type Pairs<'a> = &'a [(&'static str, &'static str)];

    fn head(target: &str, pairs: Pairs<'_>) -> Parts {
        let request = Request::post(target);
        let request =
            pairs.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(()).expect("a valid request").into_parts().0
    }

    const BASE: Pairs<'_> = &[(ACTION_HEADER, "1"), ("content-type", "application/json")];

    #[test]
    fn only_requests_of_the_same_site_are_accepted() {
        let with = |more: Pairs<'_>| head("/", &[BASE, &[("host", "a:1")], more].concat());
        assert_eq!(forgery(&with(&[])), None, "a program that is no browser");
        for (more, is_forged) in [
            (&[("origin", "http://a:1")][..], false),
            (&[("origin", "https://A:1"), ("sec-fetch-site", "same-origin")], false),
            (&[("origin", "http://a:2")], true),
            (&[("origin", "http://evil.example")], true),
            (&[("origin", "null")], true),
            (&[("sec-fetch-site", "same-site")], true),
            (&[("sec-fetch-site", "cross-site")], true),
            (&[("sec-fetch-site", "none")], true),
            (&[("origin", "http://a:1"), ("sec-fetch-site", "cross-site")], true),
        ] {
            assert_eq!(forgery(&with(more)).is_some(), is_forged, "{more:?}");
        }
        for missing in 0..2 {
            let mut base = BASE.to_vec();
            base.remove(missing);
            assert!(forgery(&head("/", &base)).is_some(), "{base:?}");
        }
        let form = [(ACTION_HEADER, "1"), ("content-type", "text/plain;application/json")];
        assert!(forgery(&head("/", &form)).is_some());
    }

    #[test]
    fn a_page_behind_a_proxy_that_changes_the_host_or_over_http_2_may_act() {
        let origin = ("origin", "https://ops.example");
        let inside = ("host", "10.0.0.7:8080");
        for (target, more) in [
            ("/", &[origin, inside, ("sec-fetch-site", "same-origin")][..]),
            ("/", &[origin, inside, ("x-forwarded-host", "ops.example")]),
            ("https://ops.example/", &[origin]),
        ] {
            assert_eq!(forgery(&head(target, &[BASE, more].concat())), None, "{target} {more:?}");
        }
        for (target, more) in [
            ("/", &[origin, inside][..]),
            ("/", &[origin, inside, ("x-forwarded-host", "other.example")]),
            ("https://other.example/", &[origin]),
            ("/", &[origin]),
        ] {
            let is_forged = forgery(&head(target, &[BASE, more].concat())).is_some();
            assert!(is_forged, "{target} {more:?}");
        }
    }
}
