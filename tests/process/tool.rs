//! What `quotactl` keeps from being lost, and how it says so.

use serde_json::Value;

use crate::recipes::Walk;

fn budget(policy: &Value) -> &Value {
    &policy["budgets"][0]
}

/// P9: what isn't given stays, and spending is never restarted unsaid.
#[test]
fn a_budget_that_is_there_is_changed_in_part_and_never_replaced() {
    let walk = Walk::start();
    let operator = &walk.operator;
    operator.run("policy add-budget monthly --member ada --max 10 --soft 8 --period monthly --zone Europe/Berlin");
    operator.spend("ada-1", 2000);
    let told = operator.fail("policy add-budget monthly --member ada --max 0.002");
    assert!(
        told.contains("10, soft 8 usd monthly, Europe/Berlin; spent 2") && told.contains("update-budget"),
        "{told}"
    );
    assert!(operator.fail("policy add-quota monthly --member ada --rpm 5").contains("update-budget"));

    let updated = operator.run("policy update-budget monthly --member ada --max 9");
    assert_eq!(budget(&updated)["max"], "9");
    assert_eq!(
        (&budget(&updated)["soft"], &budget(&updated)["period"]["time_zone"]),
        (&"8".into(), &"Europe/Berlin".into())
    );
    assert_eq!(updated["limits"][0]["spent"], "2");
    for change in ["--zone UTC", "--period daily", "--unit credits", "--period weekly --week-start sunday"] {
        let told = operator.fail(&format!("policy update-budget monthly --member ada {change}"));
        assert!(told.contains("--restart-spending") && told.contains("counts 2 usd"), "{change}: {told}");
    }
    assert_eq!(operator.run("policy get --member ada")["limits"][0]["spent"], "2");
    let restarted = operator.run("policy update-budget monthly --member ada --zone UTC --restart-spending");
    assert_eq!((&restarted["limits"][0]["spent"], &budget(&restarted)["soft"]), (&"0".into(), &"8".into()));
    assert!(operator.fail("policy update-budget yearly --member ada --max 1").contains("it has monthly"));
}

/// P9: other commands that took a whole value where a part was meant.
#[test]
fn lists_and_rules_are_changed_in_part_too() {
    let walk = Walk::start();
    let operator = &walk.operator;
    let output = operator.output("policy add-budget monthly --max 5");
    assert_eq!(output.status.code(), Some(2), "the organization isn't what was left out");
    assert!(String::from_utf8_lossy(&output.stderr).contains("--organization"));
    operator.run("policy add-quota rpm --organization --rpm 60 --model small");
    let updated = operator.run("policy update-quota rpm --organization --max 90");
    let quota = &updated["quotas"][0];
    assert_eq!(
        (&quota["unit"], &quota["max"], &quota["models"][0]),
        (&"requests_per_minute".into(), &90.into(), &"small".into())
    );

    std::fs::write(operator.folder.join("less.json"), r#"{"budgets": [], "quotas": []}"#).unwrap();
    let told = operator.fail("policy set --organization --file less.json");
    assert!(told.contains("rpm (90 requests_per_minute") && told.contains("--yes"), "{told}");
    operator.run("policy set --organization --file less.json --yes");
    operator.run("budget set ada --daily 5");
    let told = operator.fail("budget set ada --monthly 80");
    assert!(told.contains("daily (5 usd daily") && told.contains("--yes"), "{told}");

    operator.run("rule create office --cap 5 --period daily");
    assert_eq!(operator.run("rule update office --cap 6")["cap"]["period"], "daily");
    operator.run("alert settings set --recipient ops@example.org");
    let settings = operator.run("alert settings set --add-recipient cto@example.org");
    assert_eq!(settings["settings"]["recipients"].as_array().unwrap().len(), 2);
    operator.run("key update ada-1 --model small");
    assert_eq!(operator.run("key update ada-1 --add-model large")["models"].as_array().unwrap().len(), 2);
    assert!(operator.fail("key update ada-2 --add-model large").contains("all models"));
}

/// P9, M10: whether something would count from zero is the server's to say, and what to do then the tool's.
#[test]
fn restart_spending_is_asked_for_only_where_something_is_counted() {
    let walk = Walk::start();
    let operator = &walk.operator;
    operator.run("policy add-budget monthly --member ada --max 10");
    operator.run("policy add-quota rpm --member ada --rpm 60");
    operator.run("rule create office --cap 50 --period daily");
    operator.run("key update ada-1 --rule office");
    operator.run("allocation settings set --credits 1000");
    let changes = [
        ("policy update-budget monthly --member ada --zone Europe/Berlin", "--zone Europe/Paris"),
        ("policy update-quota rpm --member ada --tpm 500000", "--rpm 70"),
        ("rule update office --period weekly", "--period monthly"),
        ("rule update office --zone Europe/Berlin", "--zone Europe/Paris"),
    ];
    for (change, _) in changes {
        operator.run(change);
    }
    operator.run("allocation settings set --cadence week");

    operator.run("policy update-budget monthly --member ada --max 20");
    for (change, other) in changes {
        operator.spend("ada-1", 2000);
        let (command, _) = change.rsplit_once(" --").unwrap();
        let told = operator.fail(&format!("{command} {other}"));
        let names_all = told.contains("WOULD_RESTART_SPENDING") && told.contains("say --restart-spending if so");
        assert!(names_all && told.contains(" counts "), "{command}: {told}");
        operator.run(&format!("{command} {other} --restart-spending"));
    }
    let told = operator.fail("allocation settings set --cadence day");
    assert!(told.contains("the 8 credits used return to 0") && told.contains("say --yes"), "{told}");
    assert_eq!(operator.run("allocation settings show")["cadence"], "week", "nothing was changed");
    assert_eq!(operator.run("allocation settings set --cadence day --yes")["settings"]["cadence"], "day");

    std::fs::write(
        operator.folder.join("daily.json"),
        r#"{"budgets": [{"id": "all", "unit": "usd", "max": "5", "period": {"kind": "daily"}}]}"#,
    )
    .unwrap();
    operator.run("policy add-budget all --organization --max 50");
    operator.spend("ada-1", 1000);
    let told = operator.fail("policy set --organization --file daily.json");
    assert!(told.contains("limit all") && told.contains("--restart-spending"), "{told}");
    operator.run("policy set --organization --file daily.json --restart-spending");
}

/// P9, M10: what was removed still counts where it comes back as something else.
#[test]
fn what_is_added_again_restarts_only_where_that_is_said() {
    let walk = Walk::start();
    let operator = &walk.operator;
    for (add, other) in [
        (
            "policy add-budget all --member ada --max 10 --period monthly",
            "policy add-budget all --member ada --max 10 --period weekly",
        ),
        ("policy add-quota rate --member ada --rpm 60", "policy add-quota rate --member ada --tpm 90000"),
    ] {
        operator.run(add);
        operator.spend("ada-1", 2000);
        let id = add.split_whitespace().nth(2).unwrap();
        let taken = operator.fail(&format!("{add} --restart-spending"));
        assert!(taken.contains("already") && taken.contains("update-"), "it is no way to replace one: {taken}");
        operator.run(&format!("policy remove {id} --member ada --yes"));
        let told = operator.fail(other);
        assert!(told.contains("say --restart-spending if so"), "{told}");
        let added = operator.run(&format!("{other} --restart-spending"));
        assert_eq!(added["limits"].as_array().unwrap().last().unwrap()["spent"], "0", "{added}");
    }
}

/// M10: a member that joins again, or gives up limits of its own, has spent what it had.
#[test]
fn joining_and_inheriting_restart_only_where_that_is_said() {
    let walk = Walk::start();
    let operator = &walk.operator;
    operator.run("team create lab");
    operator.run("policy add-budget all --team lab --each-member --max 10 --period monthly");
    operator.run("team member add lab ada");
    operator.run("key create lab-1 --member ada --team lab");
    operator.spend("lab-1", 2000);
    operator.run("key delete lab-1 --yes");
    operator.run("team member remove lab ada --yes");
    operator.run("policy update-budget all --team lab --each-member --period weekly");
    let told = operator.fail("team member add lab ada");
    assert!(told.contains("counts 2 usd") && told.contains("say --restart-spending if so"), "{told}");
    operator.run("team member add lab ada --restart-spending");
    let spent = || operator.run("team member get lab ada")["limits"][0]["spent"].clone();
    assert_eq!(spent(), "0");

    operator.run("key create lab-2 --member ada --team lab");
    operator.run("policy update-budget all --team lab --member ada --max 9");
    operator.spend("lab-2", 3000);
    operator.run("policy update-budget all --team lab --each-member --period daily");
    let told = operator.fail("team member inherit lab ada");
    assert!(told.contains("counts 3 usd") && told.contains("say --restart-spending if so"), "{told}");
    assert_eq!(spent(), "3");
    operator.run("team member inherit lab ada --restart-spending");
    assert_eq!(spent(), "0");
}

/// M6: a model without a price isn't made free by a flag that says nothing of what it costs.
#[test]
fn a_price_is_made_only_by_what_costs() {
    let walk = Walk::start();
    let operator = &walk.operator;
    let nothing = [
        "--cache-outside-input",
        "--cache-inside-input",
        "--no-cached-input",
        "--no-cache-write",
        "--cached-input 1",
        "--cache-write 1 --cache-outside-input",
    ];
    for flags in nothing {
        let told = operator.fail(&format!("price set claude {flags}"));
        assert!(told.contains("NOT_FOUND"), "{flags}: {told}");
        assert!(operator.fail("price get claude").contains("NOT_FOUND"), "{flags}");
    }
    for (model, flags) in [("a", "--input 3"), ("b", "--output 3"), ("c", "--per-request 0.1")] {
        operator.run(&format!("price set {model} {flags} --cache-outside-input"));
        assert_eq!(operator.run(&format!("price get {model}"))["cache_outside_input"], true);
    }
    for flags in nothing {
        operator.run(&format!("price set a {flags}"));
    }
    assert_eq!(operator.run("price get a")["input_per_million"], "3");
}

/// P10: nothing ends without a word.
#[test]
fn what_is_deleted_is_asked_about_and_says_what_it_takes_along() {
    let walk = Walk::start();
    let operator = &walk.operator;
    for (line, along) in [
        ("org delete acme", "acme (Acme Inc), with 2 members, 1 team, 3 keys and 500 USD of balance"),
        ("team delete default", "with 2 memberships and 3 keys"),
        ("member delete ada", "ada (Ada Lovelace), with 2 keys and 1 membership"),
        ("key delete ada-1", "of member ada in team default"),
        ("price delete small", "input 1000, output 1000 USD"),
        ("team member remove default ada", "with 2 keys"),
    ] {
        let told = operator.fail(line);
        assert!(told.contains(along) && told.contains("say --yes"), "{line}: {told}");
    }
    let shown = operator.at_terminal("key delete ada-1", "n");
    assert!(shown.contains("Delete it? [y/N]") && shown.contains("nothing was changed"), "{shown}");
    operator.run("key get ada-1");
    let shown = operator.at_terminal("key delete ada-1", "y");
    assert!(shown.contains("key ada-1 deleted"), "{shown}");
    operator.run("key delete ada-2 --yes");
}

/// P10: a deleted id is told from one that never was.
#[test]
fn a_deleted_id_that_is_asked_for_says_that_it_was_deleted() {
    let walk = Walk::start();
    let operator = &walk.operator;
    operator.run("team create lab");
    operator.run("rule create office --cap 5 --period daily");
    operator.run("org create home");
    for (delete, reads) in [
        ("key delete ada-2", &["key get ada-2", "key update ada-2 --name x", "policy get --key ada-2"][..]),
        ("member delete bob", &["member get bob", "budget set bob --daily 1", "key create k --member bob"]),
        ("team delete lab", &["team get lab", "team member add lab ada"]),
        ("rule delete office", &["rule get office", "rule update office --cap 3"]),
        ("org delete home", &["org get home", "wallet balance --org home", "team list --org home"]),
    ] {
        operator.run(&format!("{delete} --yes"));
        for read in reads {
            let told = operator.fail(read);
            assert!(told.contains("was deleted") && told.contains("NOT_FOUND"), "{read}: {told}");
        }
    }
    let told = operator.fail("team get unheard-of");
    assert!(told.contains("no team unheard-of"), "{told}");
}

/// P16: field by field, in the API's own names.
#[test]
fn the_audit_log_says_what_changed() {
    let walk = Walk::start();
    let operator = &walk.operator;
    operator.run("policy add-budget monthly --member ada --max 10 --soft 8 --zone Europe/Berlin");
    operator.run("policy update-budget monthly --member ada --max 20 --alert 50%");
    operator.run(
        "org update acme --wallet-mode off --name 'A name that is a good deal longer than sixty characters, indeed'",
    );
    operator.run("team create lab");
    let shown = |line: &str| {
        let output = operator.command(line).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let policy = shown("audit --kind policy --limit 1");
    assert!(policy.contains("operator  policy member/ada"), "{policy}");
    for change in ["policy.budgets[monthly].max: 10 → 20", "policy.budgets[monthly].alerts.thresholds: none → 50%"]
    {
        assert!(policy.contains(change), "{policy}");
    }
    assert!(!policy.contains("soft") && !policy.contains("Budget"), "{policy}");
    let organization = shown("audit --kind organization --limit 1");
    assert!(organization.contains("wallet_mode: enforced → off") && organization.contains("indeed"), "{organization}");
    let team = shown("audit --kind team --limit 1");
    assert!(!team.contains("null") && !team.contains("\"\"") && !team.contains(": \n"), "{team}");
    let events = operator.run("audit --kind policy --limit 1");
    assert_eq!(events["events"][0]["after"]["budgets"][0]["period"]["time_zone"], "Europe/Berlin");
}

/// Errors for programs have what the API's have.
#[test]
fn errors_are_json_where_answers_are() {
    let walk = Walk::start();
    let error = |line: &str, code: i32| {
        let output = walk.operator.output(line);
        assert_eq!(output.status.code(), Some(code), "{line}");
        assert!(output.stdout.is_empty(), "{line}");
        let error: Value = serde_json::from_slice(&output.stderr).unwrap();
        error["error"].clone()
    };
    let refused = error("key create bad/id --member ada", 1);
    assert_eq!((&refused["code"], &refused["reason"]), (&"INVALID_ARGUMENT".into(), &"INVALID_ARGUMENT".into()));
    assert!(refused["fields"][0]["field"].as_str().unwrap().contains("id"), "{refused}");
    assert_eq!(error("team get lab", 1)["metadata"]["kind"], "team");
    assert_eq!(error("key delete ada-1", 1)["code"], "CLIENT");
    assert_eq!(error("team get", 2)["reason"], "WRONG_USAGE");
    assert_eq!(error("team get x --endpoint http://127.0.0.1:1", 1)["reason"], "UNREACHABLE");
}

/// Several servers by name, each with its token and organization.
#[test]
fn a_context_stands_for_a_server() {
    let walk = Walk::start();
    let operator = &walk.operator;
    operator.run("team create lab");
    let bare = |line: &str| {
        let mut command = operator.command(line);
        for name in ["QUOTAD_ENDPOINT", "QUOTAD_TOKEN_FILE", "QUOTAD_ORG"] {
            command.env_remove(name);
        }
        command.output().unwrap()
    };
    let told = bare("team list");
    assert_eq!(told.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&told.stderr).contains("QUOTAD_ORG"), "{told:?}");

    let token = operator.token.display();
    let added = bare(&format!("context add here --endpoint {} --token-file {token} --org acme", operator.endpoint));
    assert!(added.status.success(), "{added:?}");
    assert!(bare("team get lab --context here").status.success());
    assert!(!bare("team get lab").status.success(), "it isn't used yet");
    assert!(bare("context use here").status.success());
    let status = bare("status");
    let status = String::from_utf8(status.stdout).unwrap();
    let expected = [operator.endpoint.as_str(), "here", "in order", "operator", env!("CARGO_PKG_VERSION")];
    assert!(expected.iter().all(|part| status.contains(part)), "{status}");
    assert!(bare("team get lab").status.success());
    let elsewhere = bare("team get lab --endpoint http://127.0.0.1:1");
    assert!(String::from_utf8_lossy(&elsewhere.stderr).contains("no token"), "its token stays at home: {elsewhere:?}");
    let listed = String::from_utf8(bare("context list").stdout).unwrap();
    assert!(listed.contains("here") && listed.contains('*'), "{listed}");
    assert!(bare("context remove here --yes").status.success());
    assert!(!bare("team get lab").status.success());
}

/// A server that accepts and never answers.
#[test]
fn a_call_is_given_up_when_its_time_is_over() {
    let walk = Walk::start();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let told = walk.operator.fail(&format!("whoami --timeout 1s --endpoint {endpoint}"));
    assert!(told.contains("CANCELLED") || told.contains("DEADLINE_EXCEEDED") || told.contains("UNREACHABLE"), "{told}");
}

/// What a terminal of so many columns shows in the end, with all that has scrolled away.
fn screen(output: &str, columns: usize) -> Vec<String> {
    let (mut lines, mut row, mut column) = (vec![Vec::new()], 0_usize, 0_usize);
    let mut rest = output.chars();
    while let Some(c) = rest.next() {
        match c {
            '\x1b' => {
                let sequence: String = rest.by_ref().skip(1).take_while(|c| !c.is_ascii_alphabetic()).collect();
                // The letter is gone with the digits: up takes a number, clearing none.
                if let Ok(up) = sequence.parse::<usize>() {
                    row = row.saturating_sub(up);
                } else {
                    lines.truncate(row + 1);
                    lines[row].truncate(column);
                }
            }
            '\r' => column = 0,
            '\n' => (row, column) = (row + 1, 0),
            c => {
                if column == columns {
                    (row, column) = (row + 1, 0);
                }
                lines.resize(lines.len().max(row + 1), Vec::new());
                let line = &mut lines[row];
                line.resize(line.len().max(column + 1), ' ');
                line[column] = c;
                column += 1;
            }
        }
        lines.resize(lines.len().max(row + 1), Vec::new());
    }
    lines.into_iter().map(|line| line.into_iter().collect()).collect()
}

/// P11: one table, drawn over itself, however wide the terminal is and also without one.
#[test]
fn the_demo_reads_well_on_any_terminal() {
    let quotad = env!("CARGO_BIN_EXE_quotad");
    let run = |columns: usize| {
        let mut script = std::process::Command::new("script");
        let line = format!("stty cols {columns} rows 40; {quotad} demo --exit");
        let output = script.args(["-qec", &line, "/dev/null"]).stdin(std::process::Stdio::null()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    for columns in [60, 80, 120] {
        let shown = screen(&run(columns), columns);
        let titles = shown.iter().filter(|line| line.starts_with("key ") && line.contains("granted"));
        assert_eq!(titles.count(), 1, "{columns}: {shown:#?}");
        assert!(shown.concat().contains("the books add up"), "{columns}: {shown:#?}");
    }
    let output = std::process::Command::new(quotad).args(["demo", "--exit"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && !text.contains('\x1b'), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}
