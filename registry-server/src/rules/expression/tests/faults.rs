//! What is no condition, where, and why.

use super::super::{Expression, MODEL, NAMESPACE, Subject, VERSION};

fn fault(text: &str, of: &Subject) -> String {
    match Expression::parse(text, of) {
        Ok(expression) => panic!("{text}: {expression:?}"),
        Err(fault) => fault.to_string(),
    }
}

#[test]
fn of_versions() {
    for (text, expected) in [
        // Syntax.
        ("", "column 1: the expression ends too early"),
        ("version.number ==", "column 18: the expression ends too early"),
        ("version.number = 7", "column 16: write == to compare"),
        ("version.number == 7 and version.purged", "column 21: write && for and"),
        ("version.number == 7 OR version.purged", "column 21: write || for or"),
        ("version.number == 7 & true", "column 21: unexpected single '&', expected '&&'"),
        ("version.name == \"x", "column 17: unterminated string literal"),
        ("version.name == “x”", "column 17: write \" or ' for a quote"),
        ("version.tags[‘x’] == 'y'", "column 14: write \" or ' for a quote"),
        ("not version.purged", "column 1: write ! for not"),
        ("true && NOT (version.purged)", "column 9: write ! for not"),
        ("version.name not in ['a']", "column 14: write ! for not"),
        (
            "version.name LIKE '%fraud%'",
            "column 14: write contains(), startsWith() or endsWith() for like: version.name.contains(\"...\")",
        ),
        ("version.number <> 7", "column 16: write != for <>"),
        ("version.framework in ('a', 'b')", "column 26: write a list in brackets: in [...]"),
        ("version.framework IN ('a')", "column 19: write it in lower case, and a list in brackets: in [...]"),
        (
            "version.withdraw_time IS NOT NULL",
            "column 23: write has() to ask whether something is there: has(version.withdraw_time)",
        ),
        (
            "version.number between 1 and 9",
            "column 16: write both ends for between: 1 <= version.number && version.number <= 9",
        ),
        ("version.purged == TRUE", "column 19: there is no \"TRUE\"; write true"),
        (
            "true && has(version.metrics[\"a.b\"])",
            "column 13: has() takes fields with a dot: write \"a.b\" in version.metrics",
        ),
        (
            "!(has(version.metrics['test'][ 'roc]auc' ]) && true)",
            "column 7: has() takes fields with a dot: write 'roc]auc' in version.metrics['test']",
        ),
        ("has(version.tags['a'] == 'b')", "column 5: has() takes a field, such as has(version.withdraw_time)"),
        ("has(version.tags, 'a')", "column 1: has() has 2 arguments"),
        ("(version.purged", "column 16: the expression ends too early"),
        // Names.
        ("vresion.number == 7", "column 1: there is no \"vresion\"; the variable is version"),
        ("stage == 'PRODUCTION'", "column 1: there is no \"stage\"; write version.stage"),
        ("version.stagee == 'PRODUCTION'", "column 9: Version has no field \"stagee\"; did you mean \"stage\"?"),
        ("true && version.tag['a'] == 'b'", "column 17: Version has no field \"tag\"; did you mean \"tags\"?"),
        ("version.quality > 1", "column 9: Version has no field \"quality\""),
        ("'größer' == version.nmae", "column 21: Version has no field \"nmae\"; did you mean \"name\"?"),
        ("true\n&& version.nmae == ''", "line 2, column 12: Version has no field \"nmae\"; did you mean \"name\"?"),
        ("has(version.tag)", "column 13: Version has no field \"tag\"; did you mean \"tags\"?"),
        ("version.name.first == 'a'", "column 1: this is a string, and has nothing in it"),
        ("has(version)", "column 5: has() takes a field, such as has(version.withdraw_time)"),
        // Enums.
        (
            "version.stage == 'production'",
            "column 18: \"production\" is no Stage; there are DEVELOPMENT, STAGING, PRODUCTION, ARCHIVED; \
             did you mean \"PRODUCTION\"?",
        ),
        (
            "version.stage in ['STAGING', 'LIVE']",
            "column 30: \"LIVE\" is no Stage; there are DEVELOPMENT, STAGING, PRODUCTION, ARCHIVED",
        ),
        ("version.stage == version.name", "column 18: this is a string: a value of Stage is written \"NAME\""),
        ("version.stage == 3", "column 18: this is an int: a value of Stage is written \"NAME\""),
        ("version.stage > 'STAGING'", "column 1: this is a value of Stage: these have no order"),
        ("version.stage.startsWith('P')", "column 1: this is a value of Stage, and startsWith looks into strings"),
        // Types.
        ("version.number", "column 1: this is an int, and not a condition"),
        ("!version.number", "column 2: this is an int, and not a condition"),
        ("version.purged && version.name", "column 19: this is a string, and not a condition"),
        ("version.number == '7'", "column 19: an int can't be compared with a string"),
        ("version.name > 7", "column 16: a string can't be compared with an int"),
        ("version.metrics['a']['b'] > '7'", "column 29: a double can't be compared with a string"),
        (
            "version.create_time > '2026-01-01T00:00:00Z'",
            "column 23: a timestamp can't be compared with a string: write timestamp(\"...\")",
        ),
        (
            "version.withdraw_time == null",
            "column 26: a timestamp can't be compared with null: has() tells whether a field is set",
        ),
        ("version.metrics == version.metrics", "column 1: this is a map, and can't be compared"),
        ("version.metrics['a'] > 1", "column 1: this is a MetricSet, and can't be compared"),
        ("version.metrics[1]['a'] > 1", "column 17: this is an int, and the keys are strings"),
        ("version.features['a'].name == 'b'", "column 18: this is a string, and an index is an int"),
        ("1 in version.tags", "column 1: this is an int, and the keys are strings"),
        ("1 in version.base_versions", "column 1: a string can't be compared with an int"),
        ("'a' in version.name", "column 8: this is a string, and neither a list nor a map"),
        ("['a'] == version.base_versions", "column 2: a list can only stand behind \"in\""),
        (
            "version.number + 1.5 > 2",
            "column 18: there is no + of an int and a double: write the int as a double, such as 2.0",
        ),
        ("version.name + 'a' == 'b'", "column 16: there is no + of a string and a string"),
        ("-version.name == 'a'", "column 2: this is a string, and has no negative"),
        ("version.purged ? 1 : 'a'", "column 22: this is a string, and the other choice is an int"),
        // Functions.
        (
            "timestamp('2026-01-01') < version.create_time",
            "column 11: timestamp() takes a time such as \"2026-11-26T10:00:00Z\", written out",
        ),
        (
            "duration('7d') < duration('1h')",
            "column 10: duration() takes a length of time such as \"72h\" or \"1h30m\", written out, with the units h, m, s, \
             ms, us and ns",
        ),
        (
            "version.name.matches('a.*')",
            "column 14: regular expressions can't be used here: there are contains, startsWith and endsWith",
        ),
        (
            "version.name.startswith('a')",
            "column 14: there is no function \"startswith\"; there are contains, duration, endsWith, has, math.isNaN, \
             size, startsWith, timestamp; did you mean \"startsWith\"?",
        ),
        ("math.isNaN(version.number)", "column 12: this is an int, and no double"),
        ("isNaN(version.metrics.test.auc)", "column 1: write math.isNaN(version.metrics.test.auc)"),
        ("version.name.contains()", "column 14: contains() has 1 arguments"),
        ("version.number.contains('a')", "column 1: this is an int, and contains looks into strings"),
        (
            "version.base_versions.exists(v, v == 'a')",
            "column 1: all, exists, exists_one, map and filter can't be used here",
        ),
        ("{'a': 1}['a'] == 1", "column 2: maps and messages can't be written here"),
        ("version.number == 18446744073709551615u", "column 19: this is larger than every number here"),
        ("version.number == 9223372036854775808", "column 19: invalid int literal"),
    ] {
        assert_eq!(fault(text, &VERSION), expected, "{text}");
    }
}

#[test]
fn of_other_kinds() {
    let cases = [
        (&MODEL, "version.number == 1", "column 1: there is no \"version\"; the variable is model"),
        (
            &NAMESPACE,
            "namespace.display_name == 'x'",
            "column 1: \"namespace\" is reserved in CEL: the variable is called resource",
        ),
        (&NAMESPACE, "name == 'x'", "column 1: there is no \"name\"; write resource.name"),
    ];
    for (of, text, expected) in cases {
        assert_eq!(fault(text, of), expected, "{text}");
    }
}
