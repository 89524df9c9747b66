//! What the other tests rely on: the neighbor is measured, and the server's memory is seen.

use quotad::api::proto::{ListTransactionsRequest, Role};

use crate::{neighbour::beside, server::ORGANIZATION, world::World};

#[tokio::test]
async fn a_single_reader_disturbs_nobody() {
    let world = World::start(&[]).await;
    let reader = world.attacker("reader", Role::Basic).await;
    let measured = beside(&world, async || {
        let request =
            ListTransactionsRequest { organization_id: ORGANIZATION.to_owned(), ..ListTransactionsRequest::default() };
        reader.ledger().list_transactions(request).await.unwrap();
    })
    .await;
    measured.assert_undisturbed("one read of the ledger");
    assert!((1 << 20..1 << 30).contains(&world.memory()), "{}", world.memory());
    assert!(world.peak_memory() >= world.memory() && world.descriptors() > 5);
    assert!(!world.processor_time().is_zero());
}
