//! A server that listens on a Unix socket too.

use std::{fs, path::Path, process::Command};

use quotad::{api::proto::ListOrganizationsRequest, client::Connection};

use crate::server::{Server, command, refused};

fn on_socket(data_dir: &Path, socket: &Path) -> Command {
    let mut command = command(data_dir);
    command.arg("--socket").arg(socket);
    command
}

async fn organizations(endpoint: &str, data_dir: &Path) -> usize {
    let token = fs::read_to_string(data_dir.join("operator.token")).unwrap();
    let connection = Connection::open(endpoint, &token).await.unwrap();
    let listed = connection.organizations().list_organizations(ListOrganizationsRequest::default()).await.unwrap();
    listed.into_inner().organizations.len()
}

#[tokio::test]
async fn a_socket_is_served_beside_the_port_and_removed_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let (data, socket) = (directory.path().join("data"), directory.path().join("quotad.sock"));
    let server = Server::start_with(on_socket(&data, &socket), &data);
    assert_eq!(organizations(&format!("unix:{}", socket.display()), &data).await, 0);
    assert_eq!(organizations(&server.endpoint, &data).await, 0);
    assert_eq!(server.terminate().await.code(), Some(0));
    assert!(!socket.exists());
}

#[tokio::test]
async fn what_a_killed_server_left_is_replaced_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let (data, socket) = (directory.path().join("data"), directory.path().join("quotad.sock"));
    Server::start_with(on_socket(&data, &socket), &data).kill();
    assert!(socket.exists());
    let server = Server::start_with(on_socket(&data, &socket), &data);
    let endpoint = format!("unix:{}", socket.display());
    assert_eq!(organizations(&endpoint, &data).await, 0);

    let other = directory.path().join("other");
    let (status, said) = refused(on_socket(&other, &socket));
    assert!(!status.success() && said.contains("quotad.sock can't be listened on"), "{said}");
    assert_eq!(organizations(&endpoint, &data).await, 0, "the first still serves it");

    let file = directory.path().join("notes.txt");
    fs::write(&file, "mine").unwrap();
    let (status, said) = refused(on_socket(&other, &file));
    assert!(!status.success() && said.contains("notes.txt can't be listened on"), "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    server.kill();
}
