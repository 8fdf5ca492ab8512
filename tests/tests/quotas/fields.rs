//! The fields that tell a client about its quota, read by an independent parser of structured fields.

use std::convert::Infallible;
use std::time::Duration;

use http::{Request, Response};
use sfv::{BareItem, List, ListEntry, Parser};
use tokio::time::advance;
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::Quota;
use tower_backpressure::server::{QuotaLayer, RateLimitFields};

use crate::support::{BY_KEY, field, request, send, served, text};

/// The name and the parameters of each item of a field.
type Items = Vec<(String, Vec<(String, BareItem)>)>;

fn items<B>(response: &Response<B>, name: &str) -> Items {
    let lines: Vec<_> = response.headers().get_all(name).iter().map(|it| it.as_bytes()).collect();
    let list: List = Parser::new(&lines.join(&b", "[..])).parse().expect("a list");
    let item = |entry: ListEntry| {
        let ListEntry::Item(item) = entry else { panic!("an inner list") };
        let BareItem::String(name) = item.bare_item else { panic!("a name is a string") };
        let params = item.params.into_iter().map(|(name, value)| (name.into(), value));
        (name.into(), params.collect())
    };
    list.into_iter().map(item).collect()
}

fn number(items: &Items, name: &str, parameter: &str) -> Option<i64> {
    let (_, params) = items.iter().find(|(known, _)| known == name)?;
    let (_, value) = params.iter().find(|(known, _)| known == parameter)?;
    let BareItem::Integer(number) = value else { panic!("{parameter} is no integer: {value:?}") };
    Some((*number).into())
}

#[tokio::test(start_paused = true)]
async fn the_fields_of_draft_11_say_what_is_left_and_when_there_is_more() {
    let quota =
        Quota::per_second(10).burst(20).and(Quota::per_day(1_000)).and(Quota::concurrent(4));
    let layer = QuotaLayer::per("fields", BY_KEY, quota);
    let response = send(&layer, request("a")).await;
    let policy = items(&response, "ratelimit-policy");
    let names: Vec<_> = policy.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["fields-second", "fields-day", "fields-concurrent"]);
    for (name, parameter, expected) in [
        ("fields-second", "q", Some(10)),
        ("fields-second", "w", Some(1)),
        ("fields-day", "q", Some(1_000)),
        ("fields-day", "w", Some(86_400)),
        ("fields-concurrent", "q", Some(4)),
        ("fields-concurrent", "w", None),
    ] {
        assert_eq!(number(&policy, name, parameter), expected, "{name} {parameter}");
    }
    let unit = &policy[2].1[1];
    assert_eq!(unit.0, "qu");
    assert!(matches!(&unit.1, BareItem::String(unit) if unit.as_str() == "concurrent-requests"));

    let limit = items(&response, "ratelimit");
    assert_eq!(number(&limit, "fields-second", "r"), Some(19));
    assert_eq!(number(&limit, "fields-second", "t"), Some(1));
    assert_eq!(number(&limit, "fields-day", "r"), Some(999));
    assert_eq!(number(&limit, "fields-day", "t"), Some(87));
    assert_eq!(number(&limit, "fields-concurrent", "r"), Some(3));
}

#[tokio::test(start_paused = true)]
async fn tokens_that_are_left_can_all_be_used_and_retry_after_is_never_too_early() {
    let layer =
        QuotaLayer::per("truth", BY_KEY, Quota::per_minute(90).burst(7).and(Quota::per_hour(40)));
    let mut rejected = 0;
    for step in 0_u64..400 {
        let response = send(&layer, request("a")).await;
        let limit = items(&response, "ratelimit");
        if response.status() == 200 {
            let left = ["truth-minute", "truth-hour"]
                .map(|name| number(&limit, name, "r").expect("both windows"));
            let left = left.into_iter().min().expect("two") as usize;
            if step % 7 == 0 {
                assert_eq!(served(&layer, "a", left).await, left);
                assert_eq!(served(&layer, "a", 1).await, 0);
            }
        } else {
            rejected += 1;
            let wait: i64 = field(&response, "retry-after").parse().expect("seconds");
            for (name, _) in &limit {
                assert_eq!(number(&limit, name, "r"), Some(0));
                assert!(number(&limit, name, "t").expect("a time") <= wait);
            }
        }
        advance(Duration::from_millis(step * 97 % 9_000)).await;
    }
    assert!(rejected > 50, "{rejected}");
}

#[tokio::test(start_paused = true)]
async fn a_rejection_is_a_problem_of_the_registered_type_with_the_violated_policies() {
    let layer = QuotaLayer::per("problem", BY_KEY, Quota::per_second(5).and(Quota::per_day(2)));
    assert_eq!(served(&layer, "a", 9).await, 2);
    let rejection = send(&layer, request("a")).await;
    assert_eq!(rejection.status(), 429);
    assert_eq!(field(&rejection, "content-type"), "application/problem+json");
    let problem: serde_json::Value = serde_json::from_str(&text(rejection).await).expect("JSON");
    assert_eq!(problem["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
    assert_eq!(problem["status"], 429);
    assert_eq!(problem["violated-policies"], serde_json::json!(["problem-day"]));
}

#[tokio::test(start_paused = true)]
async fn the_older_fields_are_sent_by_choice_and_none_by_choice() {
    let quota = Quota::per_minute(60).and(Quota::per_second(2));
    let layer = QuotaLayer::per("older", BY_KEY, quota).fields(RateLimitFields::Legacy);
    let response = send(&layer, request("a")).await;
    // The window with the least left.
    assert_eq!(field(&response, "x-ratelimit-limit"), "2");
    assert_eq!(field(&response, "x-ratelimit-remaining"), "1");
    assert_eq!(field(&response, "x-ratelimit-reset"), "1");
    assert_eq!(field(&response, "ratelimit"), "");
    let both = QuotaLayer::per("both", BY_KEY, quota).fields(RateLimitFields::Both);
    let response = send(&both, request("a")).await;
    assert_eq!(field(&response, "x-ratelimit-remaining"), "1");
    assert_eq!(items(&response, "ratelimit").len(), 2);
    let none = QuotaLayer::per("none", BY_KEY, quota).fields(RateLimitFields::None);
    let response = send(&none, request("a")).await;
    assert_eq!(response.headers().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn nested_quotas_are_one_list_of_policies_with_different_names() {
    let outer = QuotaLayer::of_all("all", Quota::per_second(1_000));
    let inner = QuotaLayer::per("tenants", BY_KEY, Quota::per_second(10));
    let response = send(&(outer, inner), request("a")).await;
    for (name, left) in [("all-second", 999), ("tenants-second", 9)] {
        assert_eq!(number(&items(&response, "ratelimit"), name, "r"), Some(left));
        assert_eq!(number(&items(&response, "ratelimit-policy"), name, "q"), Some(left + 1));
    }
    assert_eq!(items(&response, "ratelimit").len(), 2);
    assert_eq!(items(&response, "ratelimit-policy").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn nested_quotas_of_one_name_and_of_the_service_inside_are_told_by_different_names() {
    let layer = |quota| QuotaLayer::per("api", BY_KEY, quota);
    let layers = (layer(Quota::per_second(1_000)), layer(Quota::per_second(10)));
    let service = layers.layer(service_fn(|_| async {
        let response = Response::builder()
            .header("ratelimit-policy", r#""api-second";q=5;w=1, "other";q=1"#)
            .header("ratelimit", r#""api-second";r=4"#);
        Ok::<_, Infallible>(response.body(String::new()).expect("a response"))
    }));
    let response = service.clone().oneshot(request("a")).await.expect("no error");
    let limits = items(&response, "ratelimit");
    let policies = items(&response, "ratelimit-policy");
    for (name, left) in [("api-second", 4), ("api-second-2", 9), ("api-second-3", 999)] {
        assert_eq!(number(&limits, name, "r"), Some(left), "{name}");
        assert_eq!(number(&policies, name, "q"), Some(left + 1), "{name}");
    }
    assert_eq!((limits.len(), policies.len()), (3, 4));
    // The response of the layer that rejects has the names that its own fields have.
    for _ in 0..9 {
        let _ = service.clone().oneshot(request("a")).await.expect("no error");
    }
    let rejection = service.oneshot(request("a")).await.expect("no error");
    let limits = items(&rejection, "ratelimit");
    assert_eq!(number(&limits, "api-second", "r"), Some(0));
    assert!(number(&limits, "api-second-2", "r").is_some_and(|left| left > 900));
    assert!(text(rejection).await.contains(r#""violated-policies":["api-second"]"#));
}

#[tokio::test(start_paused = true)]
async fn of_nested_quotas_the_older_fields_tell_the_scarcest_whichever_is_outside() {
    let layer = |name, quota| QuotaLayer::per(name, BY_KEY, quota).fields(RateLimitFields::Legacy);
    let (scarce, ample) = (Quota::per_hour(10), Quota::per_second(1_000));
    let pairs = [
        (layer("outer", scarce), layer("inner", ample)),
        (layer("outer", ample), layer("inner", scarce)),
    ];
    for pair in pairs {
        assert_eq!(served(&pair, "a", 7).await, 7);
        let response = send(&pair, request("a")).await;
        let told = ["limit", "remaining", "reset"]
            .map(|it| field(&response, &format!("x-ratelimit-{it}")));
        assert_eq!(told, ["10", "2", "360"]);
        assert_eq!(served(&pair, "a", 5).await, 2);
        let rejection = send(&pair, request("a")).await;
        assert_eq!(field(&rejection, "x-ratelimit-remaining"), "0");
        assert_eq!(field(&rejection, "x-ratelimit-reset"), field(&rejection, "retry-after"));
    }
}

#[tokio::test(start_paused = true)]
async fn older_fields_that_a_service_writes_are_kept_unless_a_window_has_less_left() {
    let layer =
        QuotaLayer::per("kept", BY_KEY, Quota::per_hour(10)).fields(RateLimitFields::Legacy);
    // What the service says, and what the client reads where nine of ten tokens are left.
    let cases = [
        (["100", "50", "7"], ["100", "50", "7"]),
        (["100", "95", "7"], ["10", "9", "360"]),
        (["100;w=60", "50", "7"], ["100;w=60", "50", "7"]),
        (["100", "", "7"], ["100", "", "7"]),
    ];
    for (said, expected) in cases {
        layer.handle().forget("a");
        let service = layer.layer(service_fn(move |_: Request<String>| async move {
            let names = ["limit", "remaining", "reset"].map(|it| format!("x-ratelimit-{it}"));
            let mut response = Response::builder();
            for (name, value) in names.iter().zip(said) {
                response = response.header(name, value);
            }
            Ok::<_, Infallible>(response.body(String::new()).expect("a response"))
        }));
        let response = service.oneshot(request("a")).await.expect("no error");
        let told = ["limit", "remaining", "reset"]
            .map(|it| field(&response, &format!("x-ratelimit-{it}")));
        assert_eq!(told, expected, "{said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn fields_of_the_largest_and_the_smallest_quotas_are_valid() {
    let most = 999_999_999_999_999;
    let layer = QuotaLayer::per(
        "most",
        BY_KEY,
        Quota::per_second(most).and(Quota::per(most, Duration::from_micros(1))),
    );
    let response = send(&layer, request("a")).await;
    assert_eq!(
        number(&items(&response, "ratelimit-policy"), "most-second", "q"),
        Some(999_999_999_999_999)
    );
    assert_eq!(
        number(&items(&response, "ratelimit-policy"), "most-1us", "q"),
        Some(999_999_999_999_999)
    );
    let layer =
        QuotaLayer::per("least", BY_KEY, Quota::per(1, Duration::from_secs(10 * 365 * 86_400)));
    assert_eq!(served(&layer, "a", 1).await, 1);
    let rejection = send(&layer, request("a")).await;
    assert_eq!(field(&rejection, "retry-after"), "315360000");
    assert_eq!(number(&items(&rejection, "ratelimit"), "least-3650d", "t"), Some(315_360_000));
}
