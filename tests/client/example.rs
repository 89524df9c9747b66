//! The example of `docs/integrate/rust.md`, compiled and run: a test compares the two.

// PAGE
use quotad::{
    api::proto::{ReserveRequest, Usage},
    client::{ConnectError, Gate, GateError, GateOptions, Pool, WhenUnreachable},
};

/// Made once, and cloned to wherever requests are served.
fn connect(endpoint: &str, service_token: &str) -> Result<Gate, ConnectError> {
    let pool = Pool::lazy(endpoint, service_token, 4)?;
    Ok(Gate::new(pool, GateOptions::new(WhenUnreachable::FailOpen)))
}

/// The HTTP status and text to answer a user with.
async fn serve(gate: &Gate, request: ReserveRequest) -> (u32, String) {
    let mut ticket = match gate.enter(request).await {
        Ok(ticket) => ticket,
        Err(GateError::Denied(denial)) => return (denial.http_status, denial.message),
        Err(error) => return (503, error.to_string()), // only if it fails closed, or the call is wrong
    };
    let mut usage = Usage { input_tokens: 1200, ..Usage::default() };
    let mut text = String::new();
    for token in ["Hello", ", ", "world"] {
        text.push_str(token);
        usage.output_tokens += 1;
        ticket.used(usage.clone()); // what is booked if the user goes away and this future is dropped
    }
    if let Err(error) = ticket.commit(usage).await {
        eprintln!("usage isn't booked: {error}");
    }
    (200, text)
}
// PAGE

use crate::{
    messages::{budget, policy, reserve, tokens, usd},
    world::{Place, World},
};

#[tokio::test]
async fn the_example_reserves_and_books_and_passes_a_denial_on() {
    let world = World::new().await;
    world.limit(Place::Key("k1"), policy(vec![budget("cap", "1")], Vec::new())).await;
    let gate = connect(&world.address(), &world.service_token).unwrap();
    let request = reserve("k1", "r", tokens(1200, 50));
    assert_eq!(serve(&gate, request).await, (200, String::from("Hello, world")));
    assert_eq!(world.books().await.limit("cap"), ("0.00123", "0", "0.99877"));
    assert_eq!(serve(&gate, reserve("k1", "more", usd("2"))).await, (429, String::from("Budget exceeded")));
}

#[test]
fn the_page_shows_the_example_that_is_tested() {
    let this = include_str!("example.rs");
    let example = this.split("// PAGE\n").nth(1).unwrap();
    let page = include_str!("../../docs/integrate/rust.md");
    assert!(
        page.contains(&format!("```rust\n{example}```\n")),
        "copy tests/client/example.rs to docs/integrate/rust.md"
    );
}
