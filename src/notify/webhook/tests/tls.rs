//! Webhooks over TLS, to a receiver whose certificate comes from an authority made for the test.

use super::*;
use crate::notify::tests::authority::Authority;

async fn encrypted_receiver(authority: &Authority) -> String {
    let (acceptor, listener) = (authority.acceptor(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        // Who doesn't trust the certificate breaks off here.
        let Ok(mut stream) = acceptor.accept(stream).await else { return };
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        std::future::pending::<()>().await;
    });
    format!("https://localhost:{port}/hook?token=hidden")
}

#[tokio::test]
async fn a_certificate_of_the_operators_authority_is_trusted() {
    let authority = Authority::new();
    let url = encrypted_receiver(&authority).await;
    let webhooks = Webhooks::with_ca_file(TIMEOUT, Reach::anywhere(), None, authority.ca_file()).unwrap();
    assert_eq!(webhooks.post(&url, &secret(), "alert-1", TIME, BODY).await, Ok(()));
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_not() {
    let (authority, other) = (Authority::new(), Authority::new());
    let webhooks = Webhooks::with_ca_file(TIMEOUT, Reach::anywhere(), None, other.ca_file()).unwrap();
    for webhooks in [webhooks, local(TIMEOUT)] {
        let url = encrypted_receiver(&authority).await;
        assert_retriable(webhooks.post(&url, &secret(), "alert-1", TIME, BODY).await, "certificate");
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_not() {
    let authority = Authority::new();
    let url = encrypted_receiver(&authority).await.replace("localhost", "127.0.0.1");
    let webhooks = Webhooks::with_ca_file(TIMEOUT, Reach::anywhere(), None, authority.ca_file()).unwrap();
    assert_retriable(webhooks.post(&url, &secret(), "alert-1", TIME, BODY).await, "certificate");
}

#[test]
fn a_file_without_certificates_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let problem = || Webhooks::with_ca_file(TIMEOUT, Reach::anywhere(), None, &file).unwrap_err();
    assert!(problem().to_string().starts_with("ca_file: "), "{}", problem());
    assert!(problem().problem.contains("can't be read"), "{}", problem());
    std::fs::write(&file, "").unwrap();
    assert!(problem().problem.contains("holds no certificate"), "{}", problem());
    std::fs::write(&file, "-----BEGIN CERTIFICATE-----\nMTIz\n-----END CERTIFICATE-----\n").unwrap();
    assert!(problem().problem.contains("can't be used"), "{}", problem());
}
