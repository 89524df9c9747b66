//! SIGKILL in the middle of the work, over and over: nothing that was acknowledged is lost, nothing is booked twice.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use quotad::{
    api::proto::{
        ChargeRequest, CommitRequest, ListTransactionsRequest, Payer, ReleaseRequest, ReservationRef, ReserveRequest,
        Usage, charge_response, payer, reservation_ref, reserve_response,
    },
    client::Connection,
    domain::money::Nanos,
};
use tonic::Code;

use crate::server::{KEY, MODEL, ORGANIZATION, Server, seed, verify};

const KILLS: u64 = 20;
const CALLERS: usize = 8;

/// What a caller knows of one piece of work, and must hold after every crash.
#[derive(Debug, Clone)]
enum Work {
    /// Not answered yet: to be asked again.
    Reserve,
    Commit {
        reservation: String,
    },
    Release {
        reservation: String,
    },
    Charge,
    /// Acknowledged, with what was charged.
    Charged(Nanos),
    Released,
}

fn usage(number: u64) -> Usage {
    Usage { input_tokens: 100 + number % 900, output_tokens: number % 300, ..Usage::default() }
}

fn payer() -> Option<Payer> {
    Some(Payer { payer: Some(payer::Payer::KeyId(KEY.to_owned())) })
}

fn by_id(reservation: &str) -> Option<ReservationRef> {
    Some(ReservationRef { reservation: Some(reservation_ref::Reservation::ReservationId(reservation.to_owned())) })
}

/// One step further; `None` when the server can't be reached.
async fn step(connection: &Connection, number: u64, work: &Work) -> Option<Work> {
    let mut quota = connection.quota();
    let request_id = format!("work-{number}");
    let next = match work {
        Work::Reserve => {
            let (model, usage) = (MODEL.to_owned(), Some(usage(number)));
            let request = ReserveRequest { payer: payer(), request_id, model, usage, ..ReserveRequest::default() };
            quota.reserve(request).await.map(|answer| match answer.into_inner().decision.unwrap() {
                reserve_response::Decision::Granted(granted) => match number % 5 {
                    0 => Work::Release { reservation: granted.reservation_id },
                    _ => Work::Commit { reservation: granted.reservation_id },
                },
                reserve_response::Decision::Denied(denial) => panic!("{denial:?}"),
            })
        }
        Work::Commit { reservation } => {
            let usage = Some(usage(number + 7));
            let request = CommitRequest { reservation: by_id(reservation), usage, ..CommitRequest::default() };
            quota.commit(request).await.map(|answer| charged(&answer.into_inner().charged.unwrap().usd))
        }
        Work::Release { reservation } => {
            let request = ReleaseRequest { reservation: by_id(reservation), reason: String::new() };
            quota.release(request).await.map(|_| Work::Released)
        }
        Work::Charge => {
            let (model, usage) = (MODEL.to_owned(), Some(usage(number)));
            let request = ChargeRequest { payer: payer(), request_id, model, usage, ..ChargeRequest::default() };
            quota.charge(request).await.map(|answer| match answer.into_inner().decision.unwrap() {
                charge_response::Decision::Charged(committed) => charged(&committed.charged.unwrap().usd),
                charge_response::Decision::Denied(denial) => panic!("{denial:?}"),
            })
        }
        Work::Charged(_) | Work::Released => return None,
    };
    match next {
        Ok(next) => Some(next),
        Err(status) => {
            let lost = matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal);
            assert!(lost, "work {number}, {work:?}: {status:?}");
            None
        }
    }
}

fn charged(usd: &str) -> Work {
    Work::Charged(Nanos::parse("usd", usd).unwrap())
}

/// Works until the server is gone, beginning with what is unfinished.
async fn call(
    connection: Connection,
    next: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    mut open: HashMap<u64, Work>,
) -> HashMap<u64, Work> {
    let mut done = HashMap::new();
    loop {
        let number = match open.keys().next() {
            Some(number) => *number,
            None if stop.load(Relaxed) => return done,
            None => {
                let number = next.fetch_add(1, Relaxed);
                open.insert(number, if number.is_multiple_of(3) { Work::Charge } else { Work::Reserve });
                number
            }
        };
        match step(&connection, number, &open[&number]).await {
            Some(end @ (Work::Charged(_) | Work::Released)) => {
                open.remove(&number);
                done.insert(number, end);
            }
            Some(further) => {
                open.insert(number, further);
            }
            None => {
                done.extend(open);
                return done;
            }
        }
    }
}

/// One life of the server: killed after a while, or asked to let the callers finish.
async fn live(
    server: Server,
    secret: &str,
    next: &Arc<AtomicU64>,
    work: HashMap<u64, Work>,
    kill_after: Option<Duration>,
) -> HashMap<u64, Work> {
    let gateway = server.operator().await.with_token(secret).unwrap();
    let stop = Arc::new(AtomicBool::new(kill_after.is_none()));
    let (mut done, mut open) = (HashMap::new(), vec![HashMap::new(); CALLERS]);
    for (number, piece) in work {
        match piece {
            end @ (Work::Charged(_) | Work::Released) => done.insert(number, end),
            further => open[usize::try_from(number).unwrap() % CALLERS].insert(number, further),
        };
    }
    let callers: Vec<_> = open
        .into_iter()
        .map(|mine| tokio::spawn(call(gateway.clone(), Arc::clone(next), Arc::clone(&stop), mine)))
        .collect();
    let last = match kill_after {
        Some(after) => {
            tokio::time::sleep(after).await;
            server.kill();
            None
        }
        None => Some(server),
    };
    for caller in callers {
        done.extend(caller.await.unwrap());
    }
    if let Some(server) = last {
        check(&server, &done).await;
    }
    done
}

/// Every acknowledged charge stands in the books once, with its amount, and nothing else does.
async fn check(server: &Server, work: &HashMap<u64, Work>) {
    let operator = server.operator().await;
    verify(&operator).await;
    let mut booked: HashMap<u64, Nanos> = HashMap::new();
    let mut page_token = String::new();
    loop {
        let organization_id = ORGANIZATION.to_owned();
        let request = ListTransactionsRequest {
            organization_id,
            page_size: 1000,
            page_token,
            ..ListTransactionsRequest::default()
        };
        let page = operator.ledger().list_transactions(request).await.unwrap().into_inner();
        for transaction in page.transactions {
            let Some(number) = transaction.request_id.strip_prefix("work-") else { continue };
            let cost = Nanos::parse("cost", &transaction.cost_usd).unwrap();
            assert_eq!(booked.insert(number.parse().unwrap(), cost), None, "{number} is booked twice");
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let mut forgotten = 0;
    for (number, end) in work {
        match end {
            // A hold that a crash forgot lost its request id with it; the sum below has its amount all the same.
            Work::Charged(cost) => match booked.remove(number) {
                Some(found) => assert_eq!(found, *cost, "{number}"),
                None => forgotten += 1,
            },
            Work::Released => assert_eq!(booked.remove(number), None, "{number} was released and charged"),
            unfinished => panic!("{number} is {unfinished:?}"),
        }
    }
    assert_eq!(booked.len(), 0, "nothing else is booked: {booked:?}");
    let organization_id = ORGANIZATION.to_owned();
    let request = ListTransactionsRequest { organization_id, page_size: 1, ..ListTransactionsRequest::default() };
    let totals = operator.ledger().list_transactions(request).await.unwrap().into_inner().totals.unwrap();
    let acknowledged: Nanos =
        work.values().filter_map(|end| if let Work::Charged(cost) = end { Some(*cost) } else { None }).sum();
    assert_eq!(
        Nanos::parse("cost", &totals.cost_usd).unwrap(),
        acknowledged,
        "{forgotten} were forgotten and restored"
    );
    println!("{} pieces of work, {forgotten} of them forgotten in a crash and charged all the same", work.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_lose_no_acknowledged_charge_and_book_none_twice() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let secret = seed(&server.operator().await, None).await;
    server.kill();
    let next = Arc::new(AtomicU64::new(0));
    let mut work = HashMap::new();
    for kill in 0..KILLS {
        let server = Server::start(directory.path());
        verify(&server.operator().await).await;
        work = live(server, &secret, &next, work, Some(Duration::from_millis(60 + kill * 23 % 200))).await;
    }
    let finished = work.values().filter(|end| matches!(end, Work::Charged(_) | Work::Released)).count();
    assert!(finished > 100, "only {finished} pieces of work were done between the kills");
    live(Server::start(directory.path()), &secret, &next, work, None).await;
}
