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
