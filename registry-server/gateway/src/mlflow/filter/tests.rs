use proptest::prelude::*;

use super::*;

fn facts<'a>(name: &'a str, tags: &'a BTreeMap<String, String>) -> Facts<'a> {
    Facts { name, tags, run_id: "r1", source: "s3://b/m", number: 7 }
}

#[test]
fn what_filters_mean() {
    let tags =
        [("team", "risk"), ("a b", "it's"), ("env", "Prod")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let tags = BTreeMap::from(tags);
    for (filter, expected) in [
        ("", true),
        ("name = 'fraud'", true),
        ("name='fraud'", true),
        ("name = \"fraud\"", true),
        ("attribute.name = 'fraud'", true),
        ("name = 'Fraud'", false),
        ("name != 'fraud'", false),
        ("name LIKE 'fr%'", true),
        ("name LIKE '%AU%'", false),
        ("name ilike '%AU%'", true),
        ("name LIKE 'f_a_d'", true),
        ("name LIKE 'f_a'", false),
        ("name LIKE ''", false),
        ("name LIKE '%'", true),
        ("name IN ('a', 'fraud')", true),
        ("name NOT IN ('a','fraud')", false),
        ("tags.team = 'risk'", true),
        ("tag.team = 'risk' AND name = 'fraud'", true),
        ("tags.team = 'risk' and tags.`a b` = 'it''s'", true),
        ("tags.\"a b\" LIKE 'it%'", true),
        ("tags.team != 'risk'", false),
        ("tags.missing != 'risk'", false),
        ("tags.env ILIKE 'prod'", true),
        ("tags.`mlflow.prompt.is_prompt` != 'true'", true),
        ("tags.`mlflow.prompt.is_prompt` = 'false'", true),
        ("tags.`mlflow.prompt.is_prompt` = 'true'", false),
        ("run_id = 'r1'", true),
        ("run_id IN ('r1','r2') AND source_path LIKE 's3://%'", true),
        ("version_number > 6 AND version_number <= 7", true),
        ("version_number != 7", false),
        ("version_number = '7'", true),
    ] {
        let parsed = Filter::parse(Of::Versions, filter).unwrap_or_else(|error| panic!("{filter}: {error:?}"));
        assert_eq!(parsed.matches(facts("fraud", &tags)), expected, "{filter}");
    }
}

#[test]
fn prompts_are_shown_to_those_who_ask_for_them() {
    let tags = BTreeMap::from([(IS_PROMPT.to_owned(), "true".to_owned())]);
    for (filter, expected) in [
        ("", false),
        ("name = 'p'", false),
        ("tags.`mlflow.prompt.is_prompt` = 'true'", true),
        ("tags.`mlflow.prompt.is_prompt` != 'false'", true),
        ("tags.`mlflow.prompt.is_prompt` != 'true'", false),
    ] {
        let parsed = Filter::parse(Of::Models, filter).unwrap();
        assert_eq!(parsed.matches(facts("p", &tags)), expected, "{filter}");
    }
}

#[test]
fn what_is_no_filter_is_told_as_mlflow_tells_it() {
    for (of, filter, expected) in [
        (Of::Models, "name", "Invalid clause(s) in filter string: name"),
        (Of::Models, "name = 'a' OR name = 'b'", "Invalid clause(s) in filter string: OR"),
        (Of::Models, "name = 'a' AND", "Invalid clause(s) in filter string: AND"),
        (Of::Models, "name = 'a", "Invalid clause(s) in filter string: 'a"),
        (Of::Models, "'a' = name", "Invalid attribute key ''a'' specified"),
        (Of::Models, "run_id = 'a'", "Invalid attribute key 'run_id' specified. Valid keys are '{'name'}'"),
        (Of::Versions, "size = 'a'", "Invalid attribute key 'size' specified"),
        (
            Of::Versions,
            "params.x = 'a'",
            "Invalid entity type 'params'. Valid entity types are ('attribute', 'tag', 'tags')",
        ),
        (Of::Models, "name > 'a'", "Invalid comparator for attribute: >"),
        (Of::Models, "tags.x IN ('a')", "Invalid comparator for tag: IN"),
        (Of::Models, "tags.x IS NULL", "IS NULL / IS NOT NULL is not supported for registered model search."),
        (Of::Versions, "version_number LIKE '1'", "Invalid comparator for attribute version_number: LIKE"),
        (Of::Versions, "version_number = 1.5", "Invalid value for numeric attribute 'version_number': 1.5"),
        (
            Of::Models,
            "name = fraud",
            "Parameter value is either not quoted or unidentified quote types used for string value",
        ),
        (
            Of::Models,
            "name = 5",
            "Expected a quoted string value or a list of quoted string values for attributes. Got",
        ),
        (Of::Models, "tags.x = 5", "Expected a quoted string value for tag (e.g. 'my-value'). Got value 5"),
        (Of::Models, "name IN (a)", "While parsing a list in the query"),
        (Of::Models, "name IN 'a'", "Invalid clause(s) in filter string"),
        (Of::Models, "name = ('a')", "Invalid clause(s) in filter string"),
        (Of::Models, "tags.`x = 'a'", "Invalid clause(s) in filter string"),
    ] {
        let error = Filter::parse(of, filter).expect_err(filter);
        assert!(error.to_string().starts_with(expected), "{filter}: {error:?}");
    }
}

#[test]
fn what_is_passed_on_is_less_and_never_too_little() {
    let passed = |of, filter| Filter::parse(of, filter).unwrap().passed_on("namespaces/default");
    for (of, filter, expected) in [
        (Of::Models, "", ""),
        (Of::Models, "name LIKE 'a%'", ""),
        (
            Of::Models,
            "tags.team = 'a\"b' AND name IN ('a b')",
            "(model.tags[\"team\"] == \"a\\\"b\" || model.annotations[\"team\"] == \"a\\\"b\") && \
             (model.name in [\"namespaces/default/models/mlflow.a+20b\"])",
        ),
        (
            Of::Versions,
            "run_id = 'r' AND version_number >= 3 AND run_id != 'x'",
            "(version.additional_metadata.mlflow.run_id == \"r\") && (version.number >= 3)",
        ),
        // What is not there is empty for MLflow.
        (Of::Versions, "run_id = ''", ""),
    ] {
        assert_eq!(passed(of, filter), expected, "{filter}");
    }
    let many: Vec<_> = (0..64).map(|at| format!("tags.t{at} = 'x'")).collect();
    let many = many.join(" AND ");
    assert_eq!(passed(Of::Models, &many).matches("model.tags").count(), 4);
    let long = format!("name IN ({})", vec!["'12345678'"; 1000].join(","));
    assert_eq!(passed(Of::Models, &long), "");
}

proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in "([a-z.]{0,4}|[=!<>(),'\"`% é]| AND | LIKE | IN |name|tags\\.){0,12}") {
        let _ = Filter::parse(Of::Versions, &text);
    }

    #[test]
    fn likeness_is_what_its_signs_say(text in "[abA.]{0,8}", pattern in "[ab.%_]{0,8}") {
        // Of two ways to say the same, the slow and plain one.
        fn plain(text: &[u8], pattern: &[u8]) -> bool {
            match pattern {
                [] => text.is_empty(),
                [b'%', rest @ ..] => (0..=text.len()).any(|from| plain(&text[from..], rest)),
                [c, rest @ ..] => !text.is_empty() && (*c == b'_' || *c == text[0]) && plain(&text[1..], rest),
            }
        }
        prop_assert_eq!(is_like(&text, &pattern), plain(text.as_bytes(), pattern.as_bytes()));
    }
}
