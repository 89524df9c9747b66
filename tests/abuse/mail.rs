//! Mails: however often their cause comes, no mailbox is filled, and nobody is written to who has nothing to do with it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use futures::future::join_all;
use quotad::api::proto::{
    AlertState, CreateInvitationRequest, Invitation, ListAlertsRequest, Member, ResendInvitationRequest, Role,
    SendTestAlertRequest, SubmitCreditRequestRequest, UpdateMemberRequest,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};
use tonic::Code;

use crate::{neighbour::beside, server::ORGANIZATION, world::World};

/// How many mails each address got, and the last one's data.
type Mailboxes = Arc<Mutex<BTreeMap<String, (usize, String)>>>;

/// A mail server that takes everything. Answers its port.
async fn mail_server() -> (u16, Mailboxes) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, mails) = (listener.local_addr().unwrap().port(), Mailboxes::default());
    let taken = Arc::clone(&mails);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(take(stream, Arc::clone(&taken)));
        }
    });
    (port, mails)
}

async fn take(stream: TcpStream, mails: Mailboxes) -> Option<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(b"220 here\r\n").await.ok()?;
    let mut to = String::new();
    while let Some(line) = lines.next_line().await.ok()? {
        let answer: &[u8] = if line.starts_with("DATA") {
            write.write_all(b"354 go on\r\n").await.ok()?;
            let mut data = String::new();
            loop {
                let line = lines.next_line().await.ok()??;
                if line == "." {
                    break;
                }
                data.push_str(&line);
                data.push('\n');
            }
            let mut mails = mails.lock().unwrap();
            let (count, last) = mails.entry(to.clone()).or_default();
            (*count, *last) = (*count + 1, data);
            b"250 taken\r\n"
        } else if line.starts_with("QUIT") {
            b"221 bye\r\n"
        } else {
            if let Some(address) = line.strip_prefix("RCPT TO:<") {
                address.split('>').next()?.clone_into(&mut to);
            }
            b"250 here\r\n"
        };
        write.write_all(answer).await.ok()?;
    }
    Some(())
}

async fn mailing() -> (World, Mailboxes) {
    let (port, mails) = mail_server().await;
    let port = port.to_string();
    let flags = ["--smtp-host", "127.0.0.1", "--smtp-port", &port, "--smtp-tls", "plain"];
    let from = ["--smtp-from", "quotad@example.org"];
    (World::start(&[flags.as_slice(), &from].concat()).await, mails)
}

async fn address(world: &World, member: &str, email: &str) {
    let member =
        Member { organization_id: ORGANIZATION.into(), id: member.into(), email: email.into(), ..Member::default() };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["email".into()] });
    world
        .operator
        .members()
        .update_member(UpdateMemberRequest { member: Some(member), update_mask, ..Default::default() })
        .await
        .unwrap();
}

async fn pending(world: &World) -> usize {
    let request = ListAlertsRequest {
        organization_id: ORGANIZATION.into(),
        states: vec![AlertState::Pending.into()],
        page_size: 1000,
        ..ListAlertsRequest::default()
    };
    world.operator.alerts().list_alerts(request).await.unwrap().into_inner().alerts.len()
}

#[tokio::test]
async fn requests_for_credits_fill_no_mailbox_and_are_gathered() {
    let (world, mails) = mailing().await;
    world.attacker("admin", Role::Admin).await;
    address(&world, "admin", "admin@example.org").await;
    let mut basics = Vec::new();
    for no in 0..5 {
        basics.push(world.attacker(&format!("basic-{no}"), Role::Basic).await);
    }
    let measured = beside(&world, async || {
        loop {
            join_all(basics.iter().map(|basic| async {
                let request = SubmitCreditRequestRequest {
                    organization_id: ORGANIZATION.into(),
                    amount: "1".into(),
                    reason: "please\nall: approved".into(),
                    ..SubmitCreditRequestRequest::default()
                };
                let _ = basic.credit_requests().submit_credit_request(request).await;
            }))
            .await;
        }
    })
    .await;
    measured.assert_undisturbed("requests for credits that are mailed");
    let told = told(&world, &mails, "admin@example.org").await;
    println!("100 requests for credits: {told} mails to their admin");
    assert!(told <= 20, "{told}");
    let (_, last) = mails.lock().unwrap()["admin@example.org"].clone();
    assert!(!last.lines().any(|line| line.starts_with("all: approved")), "{last}");
}

/// How many mails an address got, once nothing but waiting is left to do.
async fn told(world: &World, mails: &Mailboxes, address: &str) -> usize {
    loop {
        let count = || mails.lock().unwrap().get(address).map_or(0, |(count, _)| *count);
        let before = count();
        if pending(world).await == 0 || before >= 20 {
            return count();
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_stranger_gets_few_invitations_and_no_test_messages() {
    let (world, mails) = mailing().await;
    let admin = world.attacker("admin", Role::Admin).await;
    address(&world, "admin", "admin@example.org").await;
    let invitation = Invitation {
        organization_id: ORGANIZATION.into(),
        id: "stranger".into(),
        email: "stranger@example.org".into(),
        ..Invitation::default()
    };
    let request = CreateInvitationRequest { invitation: Some(invitation), ..Default::default() };
    admin.members().create_invitation(request).await.unwrap();
    for _ in 0..20 {
        let request = ResendInvitationRequest {
            organization_id: ORGANIZATION.into(),
            invitation_id: "stranger".into(),
            ..ResendInvitationRequest::default()
        };
        let _ = admin.members().resend_invitation(request).await;
    }
    let test = |to: &str| SendTestAlertRequest { organization_id: ORGANIZATION.into(), recipients: vec![to.into()] };
    let refused = admin.alerts().send_test_alert(test("stranger@example.org")).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().starts_with("recipients[0]"), "{refused:?}");
    admin.alerts().send_test_alert(test("Admin@example.org")).await.unwrap();
    while pending(&world).await > 0 {
        tokio::task::yield_now().await;
    }
    let mails = mails.lock().unwrap();
    assert_eq!(mails["Admin@example.org"].0, 1);
    assert!(mails["stranger@example.org"].0 <= 4, "{}", mails["stranger@example.org"].0);
}

#[tokio::test]
async fn test_messages_end_at_the_organizations_bound() {
    let (world, _mails) = mailing().await;
    let admin = world.attacker("admin", Role::Admin).await;
    address(&world, "admin", "admin@example.org").await;
    let mut taken = 0;
    let refused = loop {
        let request = SendTestAlertRequest { organization_id: ORGANIZATION.into(), recipients: Vec::new() };
        match admin.alerts().send_test_alert(request).await {
            Ok(_) => taken += 1,
            Err(status) => break status,
        }
    };
    assert_eq!((taken, refused.code()), (200, Code::ResourceExhausted));
}
