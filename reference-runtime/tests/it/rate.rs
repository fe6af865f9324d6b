//! The limiter under parallel requests, bare and as a layer.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use clawproof_runtime::{
    rate::{Limiter, RateLayer, RetryAfter},
    requirement,
};
use tower::{Layer, ServiceExt, service_fn};

#[test]
fn exactly_60_of_200_parallel_requests_are_admitted() {
    let limiter = Limiter::new(60, Duration::from_secs(60), 100);
    let admitted = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..25 {
                    if limiter.admit(&"client", 1).is_ok() {
                        admitted.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(admitted.into_inner(), 60);
    assert!(limiter.admit(&"another", 1).is_ok());
}

/// This process's memory in bytes, as the kernel counts it.
#[cfg(target_os = "linux")]
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() << 10
}

#[cfg(target_os = "linux")]
#[test]
fn a_million_identities_cost_bounded_memory_and_an_active_one_is_never_forgotten() {
    const CAPACITY: usize = 65_536;
    let limiter = Limiter::new(60, Duration::from_secs(60), CAPACITY);
    let name = |number: u32| format!("token:{number:08x}");
    (0..60).for_each(|_| limiter.admit(&name(0), 1).unwrap());
    let (before, mut most) = (resident(), 0);
    let mut admitted = 0;
    for number in 1..=1_000_000 {
        admitted += usize::from(limiter.admit(&name(number), 1).is_ok());
        if number % 50_000 == 0 {
            most = most.max(resident().saturating_sub(before));
            assert!(limiter.admit(&name(0), 1).is_err(), "the spent one has a new bucket");
        }
    }
    assert!(limiter.identities() <= CAPACITY, "{} identities are held", limiter.identities());
    // A part may be full while another has room: most of the capacity is used all the same.
    assert!(admitted > CAPACITY / 2, "{admitted} were admitted");
    assert!(most < 32 << 20, "a million identities cost {} KiB", most >> 10);
}

#[tokio::test]
async fn the_layer_answers_for_the_service_when_the_limit_is_spent() {
    let limiter = Arc::new(Limiter::new(3, Duration::from_secs(60), 100));
    let layer = RateLayer::new(
        Arc::clone(&limiter),
        requirement::RATE_CLIENT,
        |request: &(&'static str, u32)| *request,
        |request: (&'static str, u32), retry: RetryAfter| async move {
            Ok::<_, Infallible>(format!("{} waits {}", request.0, retry.seconds()))
        },
    );
    let service = layer.layer(service_fn(|request: (&'static str, u32)| async move {
        Ok::<_, Infallible>(format!("{} served", request.0))
    }));
    let ask = |request| service.clone().oneshot(request);
    assert_eq!(ask(("a", 2)).await, Ok("a served".into()));
    assert_eq!(ask(("a", 2)).await, Ok("a waits 60".into()));
    assert_eq!(ask(("a", 1)).await, Ok("a served".into()));
    assert_eq!(ask(("b", 3)).await, Ok("b served".into()));
    assert_eq!(limiter.identities(), 2);
}
