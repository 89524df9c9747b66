//! A data directory that is put back to an earlier state while its database isn't there to say so.

use std::{fs, path::Path};

use quotad::{api::proto::TopUpRequest, client::Connection};

use crate::{
    check::verify,
    cluster::Cluster,
    seed::ORGANIZATIONS,
    server::refused,
    world::{Books, World},
};

async fn top_up(operator: &Connection, count: usize, prefix: &str) {
    for no in 0..count {
        let request = TopUpRequest {
            organization_id: ORGANIZATIONS[0].into(),
            amount_usd: String::from("1"),
            request_id: format!("{prefix}-{no}"),
            ..TopUpRequest::default()
        };
        operator.wallets().top_up(request).await.unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_journal_that_was_put_back_never_writes_behind_what_its_books_have() {
    let cluster = tokio::task::block_in_place(|| Cluster::start(&["fsync = off"]));
    let url = tokio::task::block_in_place(|| cluster.database());
    let (world, server, _) = World::seeded(&Books::Postgres(url), &[]).await;
    server.kill();
    let earlier = world.home().join("earlier");
    copy(&world.data_dir, &earlier);
    let server = world.start();
    let operator = server.operator().await;
    top_up(&operator, 5, "known to the books").await;
    verify(&operator).await;
    server.kill();
    fs::remove_dir_all(&world.data_dir).unwrap();
    copy(&earlier, &world.data_dir);

    tokio::task::block_in_place(|| cluster.stop("fast"));
    let server = world.start();
    // Its journal grows beyond where the books are.
    top_up(&server.operator().await, 50, "known to nobody else").await;
    tokio::task::block_in_place(|| cluster.resume());
    let ended = server.ended().await;
    assert!(!ended.success() && world.log().contains("it isn't the latest"), "{ended}: {}", world.log());

    // Now it knows, also without them.
    tokio::task::block_in_place(|| cluster.stop("fast"));
    let mut command = world.command();
    command.stderr(std::process::Stdio::piped());
    let (status, said) = tokio::task::block_in_place(|| refused(command));
    assert!(!status.success() && said.contains("the database can't be reached"), "{said}");
}
