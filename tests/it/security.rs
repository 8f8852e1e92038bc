//! The list of classes of attacks names tests that there are.

use std::fs;
use std::path::Path;

#[test]
fn each_test_that_is_named_against_an_attack_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let list = fs::read_to_string(root.join("registry-server/docs/security.md")).unwrap();
    for class in list.split("\n## ").skip(1) {
        let mut named = 0;
        for line in class.lines().filter(|line| line.starts_with("- ")) {
            let mut quoted = line.split('`').skip(1).step_by(2);
            let file = quoted.next().unwrap();
            let source = fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            for test in quoted {
                assert!(source.contains(&format!("fn {test}(")), "{file} has no {test}");
                named += 1;
            }
        }
        assert!(named > 0, "no test is named against: {class}");
    }
}
