//! Service tokens that are for some organizations and operations only.

use quotad::{
    api::proto::{
        self, DenialCode, Key, Revocation, SessionRequest, Verb, WatchRevocationsResponse, session_request::Op,
        session_response::Result as Answer,
    },
    client::Connection,
};
use tokio_stream::StreamExt as _;
use tonic::{Code, Streaming};

use crate::{
    messages::{
        Failure, by_request, charge, charged, check, checked, codes, commit, extend, failed, failure, key, mask,
        release, reserve, reserved, secret, usd,
    },
    people::outcome,
    world::{ACME, World},
};

const LAB: &str = "lab";

fn denied() -> Failure {
    failed(Code::PermissionDenied, "PERMISSION_DENIED")
}

/// Besides `acme` an organization `lab`, with its member `eve` and her key `lab-1`, whose secret it answers.
async fn two() -> (World, String) {
    let world = World::new().await;
    world.organization(LAB, proto::WalletMode::Off).await;
    world.member_of(LAB, "eve", &[]).await;
    let secret = world.key_of(LAB, "lab-1", "eve", "default").await;
    (world, secret)
}

async fn scoped(world: &World, organizations: &[&str], verbs: &[Verb]) -> Connection {
    world.speaking(&world.scoped_token(organizations, verbs).await)
}

/// Asks all that decides for a payer that is refused.
async fn refusals(by: &Connection, payer: Option<proto::Payer>) -> Vec<proto::Denial> {
    let mut quota = by.quota();
    let asked = proto::ReserveRequest { payer: payer.clone(), ..reserve("", "r", usd("1")) };
    let reserve = reserved(outcome(quota.reserve(asked).await).unwrap()).unwrap_err();
    let asked = proto::ChargeRequest { payer: payer.clone(), already_used: true, ..charge("", "c", usd("1")) };
    let charge = charged(outcome(quota.charge(asked).await).unwrap()).unwrap_err();
    let asked = proto::CheckRequest { payer, ..check("", usd("1")) };
    let (check, limits) = checked(outcome(quota.check(asked).await).unwrap());
    assert_eq!(limits, []);
    vec![reserve, charge, check.unwrap_err()]
}

/// Tries to settle a reservation in every way; answers the failures.
async fn settled(by: &Connection, named: Option<proto::ReservationRef>) -> Vec<Failure> {
    let mut quota = by.quota();
    let commit = quota.commit(proto::CommitRequest { reservation: named.clone(), ..commit("", usd("1")) }).await;
    let release = quota.release(proto::ReleaseRequest { reservation: named.clone(), ..release("") }).await;
    let extend = quota.extend(proto::ExtendRequest { reservation: named, ..extend("") }).await;
    [commit.err(), release.err(), extend.err()].into_iter().map(|status| failure(&status.unwrap())).collect()
}

#[tokio::test]
async fn a_foreign_payer_and_its_reservations_are_as_if_they_were_not_there() {
    let (mut world, lab_secret) = two().await;
    let token = world.scoped_token(&[ACME], &[]).await;
    let held = world.reserve(reserve("lab-1", "held", usd("1"))).await.unwrap().reservation_id;
    for _ in 0..2 {
        let ours = world.speaking(&token);
        let unheard_of = refusals(&ours, key("unheard-of")).await;
        assert_eq!(codes(&unheard_of[0]), (DenialCode::KeyUnknown, vec![DenialCode::KeyUnknown]));
        assert_eq!(refusals(&ours, key("lab-1")).await, unheard_of);
        assert_eq!(refusals(&ours, secret(&lab_secret)).await, unheard_of);
        let not_found = vec![failed(Code::NotFound, "RESERVATION_NOT_FOUND"); 3];
        assert_eq!(settled(&ours, crate::messages::by_id(&held)).await, not_found);
        assert_eq!(settled(&ours, by_request(key("lab-1"), "held")).await, not_found);
        assert_eq!(settled(&ours, by_request(secret(&lab_secret), "held")).await, not_found);
        world.restart().await;
    }
    let ours = world.speaking(&token);
    let mine = reserved(outcome(ours.quota().reserve(reserve("k1", "mine", usd("1"))).await).unwrap()).unwrap();
    outcome(ours.quota().commit(commit(&mine.reservation_id, usd("1"))).await).unwrap();
    let both = scoped(&world, &[LAB, ACME, LAB], &[]).await;
    outcome(both.quota().commit(commit(&held, usd("1"))).await).unwrap();
}

/// Each operation as a call of its own, on `k1`.
async fn call(by: &Connection, verb: Verb) -> Result<(), Failure> {
    let mut quota = by.quota();
    let failed = match verb {
        Verb::Reserve => quota.reserve(reserve("k1", "r", usd("1"))).await.err(),
        Verb::Commit => quota.commit(commit("none", usd("1"))).await.err(),
        Verb::Release => quota.release(release("none")).await.err(),
        Verb::Extend => quota.extend(extend("none")).await.err(),
        Verb::Charge => quota.charge(charge("k1", "c", usd("1"))).await.err(),
        Verb::Check => quota.check(check("k1", usd("1"))).await.err(),
        Verb::Session => quota.session(tokio_stream::empty()).await.err(),
        Verb::WatchRevocations => {
            quota.watch_revocations(proto::WatchRevocationsRequest { holder: "h".into() }).await.err()
        }
        Verb::ConfirmPayment => by.wallets().confirm_payment(proto::ConfirmPaymentRequest::default()).await.err(),
        Verb::Unspecified => panic!("no verb"),
    };
    failed.map_or(Ok(()), |status| Err(failure(&status)))
}

/// The same within a session, which is answered in band.
async fn in_session(by: &Connection, op: Op) -> Result<(), Code> {
    let requests = tokio_stream::iter([SessionRequest { correlation_id: 7, op: Some(op) }]);
    let mut answers = by.quota().session(requests).await.unwrap().into_inner();
    let answer = answers.next().await.unwrap().unwrap();
    assert_eq!(answer.correlation_id, 7);
    match answer.result.unwrap() {
        Answer::Error(error) => Err(Code::from(error.code)),
        _ => Ok(()),
    }
}

fn ops() -> [(Verb, Op); 6] {
    [
        (Verb::Reserve, Op::Reserve(reserve("k1", "sr", usd("1")))),
        (Verb::Commit, Op::Commit(commit("none", usd("1")))),
        (Verb::Release, Op::Release(release("none"))),
        (Verb::Extend, Op::Extend(extend("none"))),
        (Verb::Charge, Op::Charge(charge("k1", "sc", usd("1")))),
        (Verb::Check, Op::Check(check("k1", usd("1")))),
    ]
}

fn verbs() -> impl Iterator<Item = Verb> {
    (1..).map_while(|no| Verb::try_from(no).ok())
}

#[tokio::test]
async fn each_verb_opens_its_own_method_and_no_other() {
    let (world, _) = two().await;
    assert_eq!(verbs().count(), 9);
    for granted in verbs() {
        let by = scoped(&world, &[], &[granted]).await;
        for verb in verbs() {
            let answer = call(&by, verb).await;
            // Without a provider there is nothing to confirm, which is asked only of those who may.
            let is_open = answer != Err(denied());
            assert_eq!(is_open, verb == granted, "{verb:?} with {granted:?}: {answer:?}");
        }
        let read = outcome(by.prices().list_prices(proto::ListPricesRequest::default()).await);
        assert!(read.is_ok(), "prices are narrowed by nothing");
    }
}

#[tokio::test]
async fn a_session_is_narrowed_operation_by_operation() {
    let (world, _) = two().await;
    for granted in [Verb::Reserve, Verb::Commit, Verb::Release, Verb::Extend, Verb::Charge, Verb::Check] {
        let by = scoped(&world, &[], &[Verb::Session, granted]).await;
        for (verb, op) in ops() {
            let answer = in_session(&by, op).await;
            let is_open = answer != Err(Code::PermissionDenied);
            assert_eq!(is_open, verb == granted, "{verb:?} with {granted:?}: {answer:?}");
        }
    }
    let ours = scoped(&world, &[ACME], &[]).await;
    let foreign =
        Op::Commit(proto::CommitRequest { reservation: by_request(key("lab-1"), "none"), ..commit("", usd("1")) });
    assert_eq!(in_session(&ours, foreign).await, Err(Code::NotFound));
}

async fn watch(by: &Connection) -> Streaming<WatchRevocationsResponse> {
    let asked = proto::WatchRevocationsRequest { holder: "gpu".into() };
    by.quota().watch_revocations(asked).await.unwrap().into_inner()
}

async fn next(watch: &mut Streaming<WatchRevocationsResponse>) -> Revocation {
    let patience = std::time::Duration::from_secs(20);
    let next = tokio::time::timeout(patience, watch.next()).await.expect("a revocation");
    next.unwrap().unwrap().revocation.unwrap()
}

#[tokio::test]
async fn a_watch_shows_the_organizations_of_its_token_only() {
    let (world, _) = two().await;
    let held = async |payer: &str, request: &str| {
        let asked = proto::ReserveRequest { holder: "gpu".into(), ..reserve(payer, request, usd("1")) };
        world.reserve(asked).await.unwrap();
    };
    let disable = async |organization: &str, id: &str, disabled: bool| {
        let key = Key { organization_id: organization.into(), id: id.into(), disabled, ..Key::default() };
        let update = proto::UpdateKeyRequest { key: Some(key), update_mask: mask(&["disabled"]), ..Default::default() };
        outcome(world.operator.keys().update_key(update).await).unwrap();
    };
    held("lab-1", "before").await;
    held("k1", "before").await;
    disable(LAB, "lab-1", true).await;
    disable(ACME, "k1", true).await;
    let ours = scoped(&world, &[ACME], &[]).await;
    let (mut ours, mut everybodys) = (watch(&ours).await, watch(&world.service).await);
    assert_eq!(next(&mut ours).await.key_id, "k1");
    let mut both = [next(&mut everybodys).await.key_id, next(&mut everybodys).await.key_id];
    both.sort();
    assert_eq!(both, ["k1", "lab-1"]);
    disable(LAB, "lab-1", false).await;
    disable(ACME, "k1", false).await;
    held("lab-1", "after").await;
    held("k1", "after").await;
    disable(LAB, "lab-1", true).await;
    disable(ACME, "k1", true).await;
    let revocation = next(&mut ours).await;
    assert_eq!((revocation.key_id.as_str(), revocation.request_id.as_str()), ("k1", "after"));
}

#[tokio::test]
async fn a_token_tells_its_scopes() {
    let (mut world, _) = two().await;
    let token = world.scoped_token(&[LAB, ACME, LAB], &[Verb::Commit, Verb::Reserve, Verb::Commit]).await;
    world.restart().await;
    let who = outcome(world.speaking(&token).tokens().who_am_i(proto::WhoAmIRequest {}).await).unwrap();
    assert_eq!(who.organization_ids, [ACME, LAB]);
    assert_eq!(who.verbs().collect::<Vec<_>>(), [Verb::Reserve, Verb::Commit]);
    let list = outcome(world.operator.tokens().list_service_tokens(proto::ListServiceTokensRequest::default()).await)
        .unwrap()
        .tokens;
    let mut scopes: Vec<_> = list.into_iter().map(|token| (token.organization_ids, token.verbs)).collect();
    scopes.sort();
    let narrowed = (vec![ACME.to_owned(), LAB.to_owned()], vec![Verb::Reserve.into(), Verb::Commit.into()]);
    assert_eq!(scopes, [(Vec::new(), Vec::new()), narrowed]);
    let all = outcome(world.service.tokens().who_am_i(proto::WhoAmIRequest {}).await).unwrap();
    assert_eq!((all.organization_ids, all.verbs), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn scopes_name_what_there_is_and_not_too_much_of_it() {
    let (world, _) = two().await;
    let create = async |organization_ids: Vec<String>, verbs: Vec<i32>| {
        let token = proto::ServiceToken { organization_ids, verbs, ..proto::ServiceToken::default() };
        let new = proto::CreateServiceTokenRequest { token: Some(token) };
        outcome(world.operator.tokens().create_service_token(new).await).map(drop)
    };
    let invalid = || Err(failed(Code::InvalidArgument, "INVALID_ARGUMENT"));
    assert_eq!(create(vec!["unheard-of".into()], Vec::new()).await, Err(failed(Code::NotFound, "NOT_FOUND")));
    assert_eq!(create(vec!["not an id".into()], Vec::new()).await, invalid());
    assert_eq!(create(vec![ACME.into(); 1001], Vec::new()).await, invalid());
    assert_eq!(create(vec![ACME.into(); 1000], Vec::new()).await, Ok(()));
    for verb in [0, 10, -1] {
        assert_eq!(create(Vec::new(), vec![verb]).await, invalid(), "{verb}");
    }
    assert_eq!(create(Vec::new(), vec![Verb::Check.into(); 10]).await, invalid());
}
