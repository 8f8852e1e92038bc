//! `lock`, `unlock` and `locks`.

use crate::cli::{Ctl, server};

#[test]
fn what_is_locked_says_why_until_it_is_released() {
    let (_folder, server) = server();
    let ctl = Ctl::new(&server);
    ctl.ok(&["create", "fraud"]);
    ctl.ok(&["create-version", "fraud"]);
    ctl.ok(&["finalize", "fraud/versions/1"]);
    let said = ctl.ok(&["lock", "fraud", "-m", "wrong scores"]);
    let expected = "fraud is locked: nothing of it changes\n`registryctl unlock fraud/locks/lock` releases it\n";
    assert_eq!(said, expected);
    let (code, complaint) = ctl.fails(&["promote", "fraud/versions/1", "production"]);
    assert!(code == Some(5) && complaint.contains("fraud/locks/lock of ") && complaint.contains("wrong scores"));
    let held = ctl.ok(&["lock", "fraud/versions/1", "--hold", "--id", "case-12", "-m", "an audit"]);
    assert!(held.starts_with("fraud/versions/1 is locked: it is neither deleted nor purged\n"), "{held}");
    let listed = ctl.ok(&["locks"]);
    assert!(listed.contains("fraud/locks/case-12  fraud/versions/1  deletion"), "{listed}");
    assert_eq!(ctl.json(&["locks", "fraud"]).len(), 2);
    assert!(ctl.ok(&["get", "fraud/locks/case-12"]).contains("an audit"));
    assert_eq!(ctl.ok(&["unlock", "fraud/locks/lock"]), "released fraud/locks/lock\n");
    ctl.ok(&["promote", "fraud/versions/1", "production"]);
    let (code, complaint) = ctl.fails(&["delete", "fraud", "--force"]);
    assert!(code == Some(5) && complaint.contains("an audit"), "{complaint}");
    assert_eq!(ctl.fails(&["unlock", "fraud/locks/lock"]).0, Some(3));
}
