//! What is mistyped on the command line is said, and does not pass for something without content.

use crate::cli::{Ctl, server};

#[test]
fn a_parent_that_does_not_exist_is_an_error_of_every_list() {
    let (_folder, server) = server();
    let ctl = Ctl::new(&server);
    // Nothing is there yet, and that is no error.
    for fine in [&["list"][..], &["list", "namespaces/default"], &["events"], &["events", "namespaces/default"]] {
        ctl.ok(fine);
    }
    ctl.ok(&["create", "fraud"]);
    for (command, missing) in [
        (&["list", "namespaces/typo"][..], "namespaces/typo"),
        (&["list", "namespaces/typo", "--deleted"], "namespaces/typo"),
        (&["list", "typo"], "namespaces/default/models/typo"),
        (&["list", "fraud/versions/1"], "namespaces/default/models/fraud/versions/1"),
        (&["events", "typo"], "namespaces/default/models/typo"),
        (&["events", "namespaces/typo", "--asc"], "namespaces/typo"),
        (&["events", "fraud/versions/1"], "namespaces/default/models/fraud/versions/1"),
        (&["watch", "typo"], "namespaces/default/models/typo"),
        (&["watch", "namespaces/typo", "--after", "0"], "namespaces/typo"),
        (&["watch", "fraud/versions/1", "--snapshot"], "namespaces/default/models/fraud/versions/1"),
    ] {
        let (code, complaint) = ctl.fails(command);
        assert_eq!(code, Some(3), "{command:?}: {complaint}");
        assert!(complaint.contains(&format!("{missing} does not exist")), "{command:?}: {complaint}");
    }
}
