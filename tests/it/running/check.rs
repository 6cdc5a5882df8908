//! The doctor beside a running agent, which it asks.

use serde_json::Value;

use super::Agent;

/// What it found, and whether it succeeded.
fn check(agent: &Agent) -> (Vec<Value>, bool) {
    let output = agent.command(&[
        "check",
        "--json",
        "--config",
        &agent.folder.join("pinhole.toml").display().to_string(),
    ]);
    (serde_json::from_slice(&output.stdout).unwrap(), output.status.success())
}

/// The outcome of a part, and what was said of it.
fn part<'a>(findings: &'a [Value], part: &str) -> (&'a str, &'a str) {
    let found = findings.iter().find(|found| found["part"] == part);
    let found = found.unwrap_or_else(|| panic!("{part}: {findings:?}"));
    (found["outcome"].as_str().unwrap(), found["said"].as_str().unwrap())
}

#[test]
fn the_agent_is_asked_where_it_serves_and_privacy_is_no_fault() {
    let mut agent = Agent::start("check", "");
    let (found, well) = check(&agent);
    let port = agent.url.rsplit_once(':').unwrap().1;
    assert_eq!(part(&found, "page"), ("ok", &*format!("the agent serves it at port {port}")));
    let (outcome, said) = part(&found, "camera cam0");
    assert!(outcome == "ok" && said.starts_with("the running agent took a picture of it"), "{said}");
    assert!(well, "{found:?}");

    let openings = |agent: &Agent| agent.log().matches("camera opened").count();
    let before = openings(&agent);
    agent.says(&["privacy", "on"]);
    let closed = ("warning", "privacy is on: it is closed, and was not looked at");
    let (found, well) = check(&agent);
    assert_eq!(part(&found, "camera cam0"), closed);
    assert!(well, "{found:?}");
    assert_eq!(openings(&agent), before, "{}", agent.log());
    assert!(before > 0, "{}", agent.log());

    // It is as it was left where nobody can be asked.
    agent.child.kill().unwrap();
    agent.child.wait().unwrap();
    let (found, _) = check(&agent);
    assert_eq!(part(&found, "camera cam0"), closed);
}
