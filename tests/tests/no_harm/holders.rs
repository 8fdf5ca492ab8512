//! Requests that hold a place without working: stalled and slow readers, watchers, long polls,
//! handlers that hang.

use std::time::Duration;

use backpressure_tests::load::{
    Class, Content, Law, Load, Reader, Report, adaptive, fixed, verify,
};

use super::{LEAST_SHARE, MILLI, Pool, SECOND, SEEDS, WARM_UP};

/// A pool of connections to a database.
const POOL: Pool = Pool::of(12, 25);
const LENGTH: Duration = Duration::from_secs(40);
/// Frames of 16 kB: a megabyte.
const MEGABYTE: Content = Content::Frames(64);
/// Holders of places; the last is the count that a server with plain sockets meets.
const CROWDS: [usize; 3] = [60, 1_000, 10_000];

/// A crowd that comes within a second, and stays.
fn crowd(name: &'static str, count: usize) -> Class {
    Class::crowd(name, count, SECOND)
}

fn stalled(count: usize) -> Class {
    crowd("stalled", count).content(MEGABYTE).reader(Reader::Stalls)
}

fn idle(count: usize, content_type: &'static str) -> Class {
    crowd("idle", count).content(Content::Idle).content_type(content_type)
}

/// Holders beside traffic of `load` times what the pool can do.
fn beside_the_pool(label: &str, load: f64, seed: u64, holders: Class) -> Report {
    Load::new(format!("{label} {load}x"), seed)
        .bottleneck(POOL.slots, POOL.service)
        .class(holders)
        .class(Class::poisson("others", load * POOL.capacity()).work())
        .run(LENGTH, adaptive)
}

/// The others are served at half load, and lose little at double load.
fn holders_harm_no_others(label: &str, holders: &Class) {
    others_are_all_served_at_half_load(label, holders);
    others_lose_little_at_double_load(label, holders);
}

fn others_are_all_served_at_half_load(label: &str, holders: &Class) {
    verify(SEEDS.map(|seed| {
        beside_the_pool(label, 0.5, seed, holders.clone()).expect_all_served("others")
    }));
}

fn others_lose_little_at_double_load(label: &str, holders: &Class) {
    let least = LEAST_SHARE * POOL.capacity();
    let report = beside_the_pool(label, 2.0, 2, holders.clone());
    verify([report.expect_rate("others", least, WARM_UP, LENGTH)]);
}

#[test]
fn stalled_readers_do_not_shut_out_requests_for_which_nothing_is_scarce() {
    verify(CROWDS.into_iter().flat_map(|count| SEEDS.map(move |seed| (count, seed))).map(
        |(count, seed)| {
            let others = Class::poisson("others", 200.0).delay(5 * MILLI);
            Load::new(format!("H3 {count} stalled readers"), seed)
                .class(stalled(count))
                .class(others.between(2 * SECOND, LENGTH))
                .run(LENGTH, adaptive)
                .expect_all_served("others")
        },
    ));
}

#[test]
fn sixty_stalled_readers_take_nothing_from_others() {
    holders_harm_no_others("H3 60 stalled readers", &stalled(60));
}

#[test]
fn a_thousand_stalled_readers_take_nothing_from_others() {
    holders_harm_no_others("H3 1000 stalled readers", &stalled(1_000));
}

#[test]
fn ten_thousand_stalled_readers_take_nothing_from_others() {
    holders_harm_no_others("H3 10000 stalled readers", &stalled(10_000));
}

const STREAMS: [&str; 4] = [
    "application/x-ndjson",
    "application/grpc",
    "multipart/x-mixed-replace; boundary=frame",
    "text/event-stream",
];

#[test]
fn idle_streams_do_not_shut_out_short_requests() {
    let kinds = STREAMS.into_iter().flat_map(|kind| [24, 1_000].map(|count| (kind, count)));
    verify(kinds.flat_map(|kind| SEEDS.map(move |seed| (kind, seed))).map(
        |((kind, count), seed)| {
            let others = Class::poisson("others", 10.0).delay(5 * MILLI);
            Load::new(format!("H4 {count} idle {kind}"), seed)
                .class(idle(count, kind))
                .class(others.between(2 * SECOND, LENGTH))
                .run(LENGTH, adaptive)
                .expect_all_served("idle")
                .expect_all_served("others")
        },
    ));
}

#[test]
fn idle_streams_take_nothing_from_others() {
    holders_harm_no_others("H4 24 idle streams", &idle(24, STREAMS[0]));
}

#[test]
#[ignore = "known miss: 1.7 % of the others are refused in the second in which ten thousand streams open"]
fn ten_thousand_idle_streams_take_nothing_from_others() {
    holders_harm_no_others("H4 10000 idle streams", &idle(10_000, STREAMS[0]));
}

fn long_polls(count: usize) -> Class {
    Class::closed("polls", count).delay(20 * SECOND).late_after(25 * SECOND)
}

#[test]
fn long_polls_do_not_shut_out_a_probe() {
    verify([100, 1_000].into_iter().flat_map(|count| SEEDS.map(move |seed| (count, seed))).map(
        |(count, seed)| {
            let probe = Class::every("probe", 3 * SECOND).delay(MILLI).late_after(SECOND);
            Load::new(format!("H5 {count} long polls"), seed)
                .class(long_polls(count))
                .class(probe)
                .run(180 * SECOND, adaptive)
                .expect_all_served("probe")
        },
    ));
}

/// One in thirteen requests waits for something that is not scarce, and long: more than one in fifty of the answers.
fn often(waits: impl Fn(Class) -> Class) -> Class {
    waits(Class::poisson("slow", 20.0)).late_after(15 * SECOND)
}

fn frequent_holders_take_nothing_from_others(label: &str, holders: &Class) {
    verify(SEEDS.map(|seed| {
        let report = beside_the_pool(label, 0.5, seed, holders.clone());
        report.expect_all_served("others").expect_all_served("slow")
    }));
}

#[test]
fn frequent_long_polls_take_nothing_from_others() {
    let polls = often(|class| class.delay(10 * SECOND));
    frequent_holders_take_nothing_from_others("H5 20 long polls a second", &polls);
}

#[test]
fn uploads_that_are_slow_at_the_beginning_take_nothing_from_others() {
    let uploads = often(|class| class.delay(10 * SECOND).work());
    frequent_holders_take_nothing_from_others("H6 20 slow uploads a second", &uploads);
}

#[test]
fn uploads_that_are_slow_at_the_end_take_nothing_from_others() {
    let uploads = often(|class| class.work().tail(10 * SECOND));
    frequent_holders_take_nothing_from_others("H6 20 uploads a second, slow at the end", &uploads);
}

#[test]
fn readers_that_pause_take_nothing_from_others() {
    let readers = often(|class| class.work().content(MEGABYTE).reader(Reader::Pauses(3 * SECOND)));
    frequent_holders_take_nothing_from_others("H13 20 readers a second pause for 3 s", &readers);
}

#[test]
fn long_polls_take_nothing_from_others_at_half_load() {
    others_are_all_served_at_half_load("H5 100 long polls", &long_polls(100));
}

#[test]
#[ignore = "known miss: .6 % of the others are refused while the limit rises to ten thousand long polls"]
fn ten_thousand_long_polls_take_nothing_from_others_at_half_load() {
    others_are_all_served_at_half_load("H5 10000 long polls", &long_polls(10_000));
}

#[test]
#[ignore = "known miss: at twice the capacity of a hidden pool long polls take its places"]
fn long_polls_take_little_from_others_at_double_load() {
    for count in [100, 10_000] {
        others_lose_little_at_double_load(&format!("H5 {count} long polls"), &long_polls(count));
    }
}

#[test]
fn a_route_that_hangs_takes_nothing_from_others() {
    holders_harm_no_others("H12 40 that hang", &hanging(40));
}

#[test]
#[ignore = "known miss: .5 % of the others are refused in the second in which a thousand begin to hang"]
fn a_thousand_requests_that_hang_take_nothing_from_others() {
    holders_harm_no_others("H12 1000 that hang", &hanging(1_000));
}

fn hanging(count: usize) -> Class {
    Class::crowd("hanging", count, SECOND).hangs()
}

#[test]
fn slow_readers_take_nothing_from_others() {
    // One in ten, on top of the rest: half a second between 20 frames.
    let slow = |load: f64| Class::poisson("slow", load * POOL.capacity() / 10.0);
    let slow = |load| slow(load).work().content(Content::Frames(20));
    let slow = |load| slow(load).reader(Reader::Slow(SECOND / 2)).late_after(15 * SECOND);
    let half = SEEDS.map(|seed| {
        let report = beside_the_pool("H13 slow readers", 0.45, seed, slow(0.5));
        report.expect_all_served("others").expect_all_served("slow")
    });
    let double = [2].map(|seed| {
        let least = 0.9 * LEAST_SHARE * POOL.capacity();
        let report = beside_the_pool("H13 slow readers", 1.8, seed, slow(2.0));
        report.expect_rate("others", least, WARM_UP, LENGTH)
    });
    verify(half.chain(double));
}

#[test]
fn hangs_that_callers_leave_take_nothing_from_others() {
    holders_harm_no_others("H13 20 hangs a second, left", &leavers(20.0));
}

#[test]
#[ignore = "known miss: 1.3 % of the others are refused in the first second"]
fn a_hundred_hangs_a_second_that_callers_leave_take_nothing_from_others() {
    holders_harm_no_others("H13 100 hangs a second, left", &leavers(100.0));
}

/// A service at .8x that suddenly needs 2 s more for a quarter of its requests, for 30 s: at least this share of
/// the others has to be served meanwhile.
fn a_quarter_becomes_slow(least_share: f64) {
    let (from, until, length) = (20 * SECOND, 50 * SECOND, 60 * SECOND);
    let rate = 0.8 * POOL.capacity();
    let others = 0.75 * rate;
    verify(SEEDS.map(|seed| {
        let quarter = Class::poisson("quarter", rate / 4.0).work();
        let slow = Class::poisson("slow", rate / 4.0).delay(2 * SECOND).work();
        Load::new("a replica of four slower by 2 s, 0.8x", seed)
            .bottleneck(POOL.slots, POOL.service)
            .class(Class::poisson("others", others).work())
            .class(quarter.between(Duration::ZERO, from))
            .class(slow.late_after(10 * SECOND).between(from, until))
            .run(length, adaptive)
            .expect_rate("others", least_share * others, from, until)
            .expect_rate("others", LEAST_SHARE * others, until + 5 * SECOND, length)
    }));
}

#[test]
fn a_quarter_of_requests_that_become_slow_does_not_shut_out_the_others() {
    a_quarter_becomes_slow(0.5);
}

#[test]
#[ignore = "known miss: 64 to 99 % of the others are served, as the search upwards takes seconds"]
fn a_quarter_of_requests_that_become_slow_takes_nothing_from_the_others() {
    a_quarter_becomes_slow(LEAST_SHARE);
}

fn leavers(rate: f64) -> Class {
    Class::poisson("leavers", rate).hangs().leaves_after(10 * SECOND)
}

/// Time after which readers that have stalled must have lost their places under a fixed limit.
const STALL_BOUND: Duration = Duration::from_secs(60);

#[test]
fn stalled_readers_lose_their_places_under_a_fixed_limit() {
    verify(SEEDS.map(|seed| {
        let length = STALL_BOUND + 60 * SECOND;
        let stalled = crowd("stalled", 8).content(Content::Frames(640)).reader(Reader::Stalls);
        Load::new("H7 fixed limit of 8", seed)
            .class(stalled)
            .class(Class::every("ninth", SECOND).delay(MILLI).between(2 * SECOND, length))
            .run(length, || fixed(8))
            .expect_all_served_after("ninth", STALL_BOUND + 2 * SECOND)
            .expect_rate("ninth", 0.9, STALL_BOUND + 2 * SECOND, length)
    }));
}

/// Share of the streams that the service can complete in time that it has to complete: they start
/// together, and some share their slots with more than the best limit would let in.
const LEAST_SHARE_OF_STREAMS: f64 = 0.8;

/// Streams whose every frame is work: 40 events of 5 ms.
fn working_streams_are_bounded_at(load: f64) {
    let pool = Pool { slots: 8, service: Law::Exponential(5 * MILLI) };
    let events: u16 = 40;
    let capacity = pool.capacity() / f64::from(events);
    let kinds = ["text/event-stream", "application/x-ndjson", "application/json"];
    verify(kinds.map(|kind| {
        let streams = Class::poisson("streams", load * capacity);
        let streams = streams.content(Content::Turns(events.into())).content_type(kind);
        Load::new(format!("working {kind} {load}x"), 1)
            .bottleneck(pool.slots, pool.service)
            .class(streams)
            .run(LENGTH, adaptive)
            .expect_rate("streams", LEAST_SHARE_OF_STREAMS * capacity, WARM_UP, LENGTH)
    }));
}

#[test]
fn streams_that_work_are_bounded_at_double_load() {
    working_streams_are_bounded_at(2.0);
}

#[test]
#[ignore = "known miss: 31.1 streams a second, .97 of the 32 that are asked for"]
fn streams_that_work_are_bounded_at_four_times_the_load() {
    working_streams_are_bounded_at(4.0);
}
