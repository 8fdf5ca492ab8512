use std::future::poll_fn;

use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Full};

use super::*;

fn channel() -> (http_body_util::channel::Sender<Bytes>, Channel<Bytes>) {
    Channel::new(16)
}

async fn next_data<B>(body: &mut ReplayBody<B>) -> Option<Bytes>
where
    B: Body + 'static,
    B::Error: Into<BoxError>,
{
    body.frame().await.map(|frame| frame.unwrap().into_data().unwrap())
}

#[tokio::test]
async fn each_attempt_sends_the_whole_body_and_its_trailers() {
    let (mut sender, body) = channel();
    let mut trailers = HeaderMap::new();
    trailers.insert("checksum", "7".parse().unwrap());
    sender.send_data("an ".into()).await.unwrap();
    sender.send_data("order".into()).await.unwrap();
    sender.send_trailers(trailers.clone()).await.unwrap();
    drop(sender);
    let first = ReplayBody::new(body, 1_024);
    let second = first.of_next_attempt();
    for body in [first, second] {
        assert!(body.can_replay());
        let collected = body.collect().await.unwrap();
        assert_eq!(collected.trailers(), Some(&trailers));
        assert_eq!(collected.to_bytes(), "an order");
    }
}

#[tokio::test]
async fn an_attempt_sends_what_was_kept_and_then_the_rest() {
    let (mut sender, body) = channel();
    let mut first = ReplayBody::new(body, 1_024);
    let second = first.of_next_attempt();
    sender.send_data("an ".into()).await.unwrap();
    assert_eq!(next_data(&mut first).await.unwrap(), "an ");
    sender.send_data("order".into()).await.unwrap();
    drop(sender);
    assert_eq!(second.collect().await.unwrap().to_bytes(), "an order");
    assert!(first.frame().await.unwrap().is_err(), "a later attempt reads the body now");
}

#[tokio::test]
async fn a_connection_that_still_sends_an_earlier_attempt_is_woken_and_fails() {
    let (_sender, body) = channel();
    let mut first = ReplayBody::new(body, 1_024);
    let mut second = first.of_next_attempt();
    let stale = tokio::spawn(async move { first.frame().await.unwrap().is_err() });
    tokio::task::yield_now().await;
    poll_fn(|cx| {
        assert!(Pin::new(&mut second).poll_frame(cx).is_pending());
        Poll::Ready(())
    })
    .await;
    assert!(stale.await.unwrap());
}

#[tokio::test]
async fn a_body_above_the_bound_passes_through_once_and_is_not_kept() {
    let (mut sender, body) = channel();
    let mut first = ReplayBody::new(body, 8);
    for (part, can_replay) in [("12345678", true), ("9", false), ("0", false)] {
        sender.send_data(part.into()).await.unwrap();
        assert_eq!(next_data(&mut first).await.unwrap(), part);
        assert_eq!(first.can_replay(), can_replay, "{part}");
    }
    assert!(first.lock().kept.is_none());
    drop(sender);
    assert!(first.frame().await.is_none());
}

#[tokio::test]
async fn the_length_of_a_body_stays_known() {
    let mut first = ReplayBody::new(Full::<Bytes>::from("an order"), 1_024);
    let second = first.of_next_attempt();
    assert_eq!(first.size_hint().exact(), Some(8));
    assert_eq!(next_data(&mut first).await.unwrap(), "an order");
    assert_eq!((first.size_hint().exact(), first.is_end_stream()), (Some(0), true));
    assert_eq!((second.size_hint().exact(), second.is_end_stream()), (Some(8), false));
    assert!(ReplayBody::new(Full::<Bytes>::default(), 8).is_end_stream());
}

#[tokio::test]
async fn a_body_that_failed_is_not_sent_again() {
    let (sender, body) = Channel::<Bytes, &str>::new(1);
    let mut first = ReplayBody::new(body, 8);
    sender.abort("unreadable");
    assert!(first.frame().await.unwrap().is_err());
    assert!(!first.can_replay());
}
