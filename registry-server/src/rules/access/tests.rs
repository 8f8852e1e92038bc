//! Decisions, in a table and against a model that walks everything.

use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::rules::names::{ARTIFACTS, INSTANCES, MODELS, NAMESPACES, Name, SUBSCRIPTIONS, VERSIONS};

fn permission(name: &str) -> Permission {
    Permission::named(name).unwrap_or_else(|| panic!("no method declares {name}"))
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn bound(role: &str, members: &[&str], resource: &str) -> Bound {
    let (role, members, resource) = (role.to_owned(), texts(members), resource.to_owned());
    Bound { role, members, resource, tags: Tags::new(), condition: None }
}

fn tags(pairs: &[(&str, &str)]) -> Tags {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn access() -> Access {
    let roles = [("roles/namer".to_owned(), Permissions::of_patterns(["models.setAlias", "models.none", "x.*"]))];
    let groups = [("groups/risk".to_owned(), texts(&["users/rita", "services/scorer"]))];
    let bindings = [
        ("bindings/1", bound("roles/admin", &["users/root"], SERVER)),
        ("bindings/2", bound("roles/viewer", &["groups/risk"], "namespaces/risk")),
        ("bindings/3", bound("roles/deployer", &["users/rita"], "namespaces/risk/models/fraud")),
        ("bindings/4", bound("roles/viewer", &[ALL_AUTHENTICATED], "namespaces/public")),
        ("bindings/5", bound("roles/namer", &["users/rita"], "namespaces/risk/models/churn")),
        ("bindings/6", bound("roles/gone", &["users/rita"], SERVER)),
        ("bindings/7", bound("roles/viewer", &["users/rita"], "namespaces/risk/models/fraud")),
    ];
    Access::new(roles, groups, bindings.map(|(name, bound)| (name.to_owned(), bound)), [])
}

#[test]
fn bindings_give_roles_on_resources_and_all_below() {
    let access = access();
    let fraud = "namespaces/risk/models/fraud";
    for (principal, name, resource, allowed, below) in [
        ("users/root", "registry.backup", SERVER, true, false),
        ("users/root", "models.purge", fraud, true, false),
        ("users/rita", "models.get", SERVER, false, true),
        ("users/rita", "models.get", "namespaces/risk", true, true),
        ("users/rita", "models.get", "namespaces/risk/models/other", true, false),
        // Another namespace whose name begins like that.
        ("users/rita", "models.get", "namespaces/risky", false, false),
        ("users/rita", "versions.transitionStage", fraud, true, false),
        ("users/rita", "versions.transitionStage", "namespaces/risk", false, true),
        ("users/rita", "versions.transitionStage", "namespaces/risk/models/fraud2", false, false),
        ("users/rita", "models.setAlias", "namespaces/risk/models/churn", true, false),
        ("users/rita", "models.deleteAlias", "namespaces/risk/models/churn", false, false),
        ("services/scorer", "models.get", fraud, true, false),
        ("services/scorer", "versions.transitionStage", fraud, false, false),
        ("users/nobody", "models.get", "namespaces/public/models/m", true, false),
        ("users/nobody", "models.get", "namespaces/risk", false, false),
        ("users/nobody", "access.whoAmI", SERVER, true, false),
        // A group is not a principal that calls, nor a user of the same id a service.
        ("users/scorer", "models.get", fraud, false, false),
    ] {
        let permission = permission(name);
        assert_eq!(access.allows(principal, permission, resource), allowed, "{principal} {name} {resource}");
        assert_eq!(access.permissions(principal, resource).has(permission), allowed, "{principal} {name} {resource}");
        assert_eq!(access.allows_below(principal, permission, resource), below, "{principal} {name} {resource}");
        let explained = !access.explain(principal, permission, resource).is_empty();
        assert_eq!(explained, allowed && !OF_ALL.contains(&name), "{principal} {name} {resource}");
    }
}

#[test]
fn an_explanation_names_every_binding() {
    let grant = |binding: &str, member: &str, resource: &str| Grant {
        binding: format!("bindings/{binding}"),
        role: if binding == "3" { "roles/deployer".to_owned() } else { "roles/viewer".to_owned() },
        member: member.to_owned(),
        resource: resource.to_owned(),
    };
    let fraud = "namespaces/risk/models/fraud";
    assert_eq!(
        access().explain("users/rita", permission("models.get"), fraud),
        [
            grant("2", "groups/risk", "namespaces/risk"),
            grant("3", "users/rita", fraud),
            grant("7", "users/rita", fraud),
        ]
    );
}

#[test]
fn a_token_narrows_what_its_principal_may_do() {
    let access = access();
    let fraud = "namespaces/risk/models/fraud";
    let bearer = |principal: &str, roles: &[&str], resource: &str| Bearer {
        principal: principal.to_owned(),
        groups: Vec::new(),
        roles: texts(roles),
        resource: resource.to_owned(),
    };
    for (bearer, name, resource, allowed, some) in [
        (bearer("users/root", &[], SERVER), "models.purge", SERVER, true, true),
        (bearer("users/root", &["roles/viewer"], SERVER), "models.get", SERVER, true, true),
        (bearer("users/root", &["roles/viewer"], SERVER), "models.purge", SERVER, false, false),
        (bearer("users/root", &["roles/viewer", "roles/namer"], SERVER), "models.setAlias", fraud, true, true),
        (bearer("users/root", &["roles/gone"], SERVER), "models.get", SERVER, false, false),
        (bearer("users/root", &["roles/gone"], SERVER), "access.whoAmI", SERVER, true, true),
        (bearer("users/root", &[], "namespaces/risk"), "models.get", fraud, true, true),
        (bearer("users/root", &[], "namespaces/risk"), "models.get", SERVER, false, true),
        (bearer("users/root", &[], "namespaces/risk"), "models.get", "namespaces/public", false, false),
        (bearer("users/root", &[], "namespaces/risk"), "access.whoAmI", SERVER, true, true),
        (bearer("users/rita", &[], fraud), "models.get", "namespaces/risk", false, true),
        (bearer("users/rita", &["roles/viewer"], fraud), "versions.transitionStage", fraud, false, false),
        // It gives nothing that the principal lacks.
        (bearer("users/rita", &["roles/admin"], SERVER), "models.purge", fraud, false, false),
        (bearer("users/nobody", &[], "namespaces/risk"), "models.get", SERVER, false, false),
    ] {
        let permission = permission(name);
        assert_eq!(bearer.may(&access, permission, resource), allowed, "{bearer:?} {name} {resource}");
        assert_eq!(bearer.permissions(&access, resource).has(permission), allowed, "{bearer:?} {name} {resource}");
        assert_eq!(bearer.may_some(&access, permission, resource), some, "{bearer:?} {name} {resource}");
    }
}

#[test]
fn the_groups_of_a_token_count_for_its_bearer_alone() {
    let access = access();
    let fraud = "namespaces/risk/models/fraud";
    let bearer = |groups: &[&str], roles: &[&str]| Bearer {
        principal: "users/new".to_owned(),
        groups: texts(groups),
        roles: texts(roles),
        resource: String::new(),
    };
    for (bearer, name, allowed) in [
        (bearer(&[], &[]), "models.get", false),
        (bearer(&["groups/risk"], &[]), "models.get", true),
        (bearer(&["groups/none", "groups/risk"], &[]), "models.get", true),
        (bearer(&["groups/risk"], &[]), "versions.transitionStage", false),
        (bearer(&["groups/risk"], &["roles/namer"]), "models.get", false),
        // Only what is called a group is looked up as one; a claim can't make it anything else.
        (bearer(&["groups/root"], &[]), "models.purge", false),
    ] {
        let permission = permission(name);
        assert_eq!(bearer.may(&access, permission, fraud), allowed, "{bearer:?} {name}");
        assert_eq!(bearer.permissions(&access, fraud).has(permission), allowed, "{bearer:?} {name}");
        assert_eq!(bearer.may_some(&access, permission, "namespaces/risk"), allowed, "{bearer:?} {name}");
    }
    assert!(!access.allows("users/new", permission("models.get"), fraud));
    let rita =
        Bearer { principal: "users/rita".to_owned(), groups: texts(&["groups/risk", "groups/a"]), ..Bearer::default() };
    assert_eq!(rita.groups(&access), ["groups/a", "groups/risk"]);
}

#[test]
fn patterns_stand_for_what_methods_declare() {
    assert_eq!(Permissions::of("*"), Some(Permissions::all()));
    let of_models = Permissions::of("models.*").unwrap();
    assert!(of_models.has(permission("models.get")) && !of_models.has(permission("versions.get")));
    assert_eq!(Permissions::of("models.get"), Some([permission("models.get")].into_iter().collect()));
    for pattern in ["", "models", "model*", "models.", "models.g*", "*.get", "models.get*", "Models.get", "models.*.*"]
    {
        assert_eq!(Permissions::of(pattern), None, "{pattern}");
    }
    let viewer = Permissions::of_patterns(["models.get", "nothing.at.all"]);
    assert_eq!(Permissions::all().first_beyond(Permissions::all()), None);
    assert_eq!(viewer.first_beyond(Permissions::default()), Some(permission("models.get")));
}

#[test]
fn what_a_request_names_is_decided_where_roles_are_held() {
    for (name, expected) in [
        ("", SERVER),
        ("namespaces/risk", "namespaces/risk"),
        ("namespaces/risk/models/fraud", "namespaces/risk/models/fraud"),
        ("namespaces/risk/models/fraud/versions/7", "namespaces/risk/models/fraud"),
        ("namespaces/risk/models/fraud/versions/7/artifacts/a/b@c", "namespaces/risk/models/fraud"),
        ("namespaces/risk/models/fraud@production", "namespaces/risk/models/fraud"),
        ("namespaces/risk/models/fraud@production/artifacts/a", "namespaces/risk/models/fraud"),
        ("namespaces/risk/models/-", "namespaces/risk"),
        ("namespaces/risk/others/x", "namespaces/risk"),
        ("models/fraud/versions/1", "namespaces/default/models/fraud"),
        ("models/-", "namespaces/default"),
        ("namespaces/-/models/fraud", SERVER),
        ("namespaces/", SERVER),
        ("namespaces//models/fraud", SERVER),
        ("webhooks/namespaces/risk", SERVER),
        ("/namespaces/risk", SERVER),
        ("events/7-0", SERVER),
    ] {
        assert_eq!(node_of(name), expected, "{name}");
    }
}

#[test]
fn what_is_held_under_a_condition_is_not_given_on() {
    let on = |condition| Bound {
        condition: Some(Condition::of(condition)),
        ..bound("roles/admin", &["groups/risk"], SERVER)
    };
    let groups = [("groups/risk".to_owned(), texts(&["users/rita"]))];
    for (condition, met) in [("now > timestamp('2026-01-01T00:00:00Z')", true), ("no condition", false), ("", false)] {
        let access = Access::new([], groups.clone(), [("bindings/1".to_owned(), on(condition))], []).at(noon);
        let rita = Bearer { principal: "users/rita".to_owned(), ..Bearer::default() };
        assert_eq!(rita.may(&access, permission("models.purge"), "namespaces/risk"), met, "{condition:?}");
        assert_eq!(access.explain("users/rita", permission("models.purge"), SERVER).len(), usize::from(met));
        assert_eq!(rita.permissions(&access, SERVER).first_beyond(Permissions::of_all()), None);
        // Whoever puts others into the group gives them all of it.
        assert!(access.held_of("groups/risk").any(|(_, held)| held == Permissions::all()));
        assert!(access.has_conditions());
    }
}

#[test]
fn tags_of_namespaces_give_what_is_bound_to_them() {
    let by = |role: &str, member: &str, pairs: &[(&str, &str)]| Bound {
        tags: tags(pairs),
        ..bound(role, &[member], SERVER)
    };
    let team = ("team", "risk");
    let bindings = [
        by("roles/viewer", "users/rita", &[team]),
        by("roles/deployer", "users/rita", &[team, ("env", "test")]),
        by("roles/publisher", "groups/risk", &[team]),
    ];
    let bindings = bindings.into_iter().enumerate().map(|(at, bound)| (format!("bindings/{at}"), bound));
    let namespaces = [
        ("namespaces/risk", tags(&[team, ("env", "prod")])),
        ("namespaces/risk-test", tags(&[team, ("env", "test")])),
        ("namespaces/other", tags(&[("team", "other"), ("risk", "team")])),
    ];
    let namespaces = namespaces.map(|(name, tags)| (name.to_owned(), tags));
    let access = Access::new([], [("groups/risk".to_owned(), texts(&["users/paul"]))], bindings, namespaces);
    for (principal, name, resource, allowed, below) in [
        ("users/rita", "models.get", "namespaces/risk", true, false),
        ("users/rita", "models.get", "namespaces/risk/models/fraud", true, false),
        ("users/rita", "versions.transitionStage", "namespaces/risk/models/fraud", false, false),
        ("users/rita", "versions.transitionStage", "namespaces/risk-test/models/fraud", true, false),
        ("users/rita", "models.get", "namespaces/other", false, false),
        // What comes into being there later has no tags yet.
        ("users/rita", "models.get", "namespaces/new", false, false),
        ("users/rita", "models.get", SERVER, false, true),
        ("users/paul", "models.create", "namespaces/risk", true, false),
        ("users/eve", "models.get", "namespaces/risk", false, false),
    ] {
        let permission = permission(name);
        assert_eq!(access.allows(principal, permission, resource), allowed, "{principal} {name} {resource}");
        assert_eq!(access.permissions(principal, resource).has(permission), allowed, "{principal} {name} {resource}");
        assert_eq!(access.allows_below(principal, permission, resource), below, "{principal} {name} {resource}");
    }
    let explained = access.explain("users/paul", permission("models.create"), "namespaces/risk/models/fraud");
    let names: Vec<_> = explained.iter().map(|grant| (grant.binding.as_str(), grant.resource.as_str())).collect();
    assert_eq!(names, [("bindings/2", "namespaces/risk")]);

    let given = |before: &[(&str, &str)], after: &[(&str, &str)]| {
        let given = access.given_by(&tags(before), &tags(after));
        ["models.get", "models.create", "versions.transitionStage"].map(|name| given.has(permission(name)))
    };
    assert_eq!(given(&[team], &[team, ("more", "")]), [false, false, false]);
    assert_eq!(given(&[], &[team]), [true, true, false]);
    assert_eq!(given(&[team], &[("team", "other")]), [true, true, false]);
    assert_eq!(given(&[team], &[team, ("env", "test")]), [true, false, true]);
    // Whoever puts others into a group gives what it has by tags, too.
    assert!(
        access.held_of("groups/risk").any(|(node, held)| is_by_tags(node) && held.has(permission("models.create")))
    );
}

#[test]
fn what_holds_what() {
    assert_eq!(upwards("namespaces/a/models/b").collect::<Vec<_>>(), ["namespaces/a/models/b", "namespaces/a", SERVER]);
    assert_eq!(upwards(SERVER).collect::<Vec<_>>(), [SERVER]);
}

const NODES: [&str; 6] = [
    SERVER,
    "namespaces/a",
    "namespaces/ab",
    "namespaces/a/models/m",
    "namespaces/a/models/mm",
    "namespaces/ab/models/m",
];
const PRINCIPALS: [&str; 4] = ["users/1", "users/2", "services/1", "users/11"];
const GROUPS: [&str; 2] = ["groups/1", "groups/2"];
const ROLES: [&str; 4] = ["roles/viewer", "roles/deployer", "roles/own", "roles/missing"];
const ASKED: [&str; 4] = ["models.get", "versions.transitionStage", "models.purge", "registry.backup"];

const TAGS: [(&str, &str); 3] = [("team", "a"), ("team", "b"), ("env", "test")];

/// A moment in 2026.
fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_780_800)
}

type Met = fn(&str, &str, &str) -> bool;

/// Conditions, and when they are met: by principal, permission and resource.
const CONDITIONS: [(&str, Met); 9] = [
    ("true", |_, _, _| true),
    ("false", |_, _, _| false),
    ("principal == 'users/1'", |principal, _, _| principal == "users/1"),
    ("permission.startsWith('models.')", |_, permission, _| permission.starts_with("models.")),
    ("resource.endsWith('/models/m')", |_, _, resource| resource.ends_with("/models/m")),
    ("resource == ''", |_, _, resource| resource.is_empty()),
    ("now < timestamp('2026-11-28T00:00:00Z')", |_, _, _| true),
    ("now < timestamp('2026-11-27T00:00:00Z')", |_, _, _| false),
    // No verdict.
    ("1 / 0 == 1 || resource == 'namespaces/a'", |_, _, resource| resource == "namespaces/a"),
];

/// A binding, and which of the conditions it is under.
#[derive(Debug, Clone)]
struct Given {
    bound: Bound,
    condition: Option<usize>,
}

impl Given {
    fn is_met(&self, principal: &str, permission: Permission, resource: &str) -> bool {
        self.condition.is_none_or(|at| CONDITIONS[at].1(principal, permission.name(), resource))
    }
}

prop_compose! {
    fn a_binding()(
        role in select(&ROLES[..]),
        members in subsequence([&PRINCIPALS[..], &GROUPS[..], &[ALL_AUTHENTICATED]].concat(), 1..3),
        resource in select(&NODES[..]),
        tags in subsequence(&TAGS[..], 0..2),
        condition in proptest::option::of(0..CONDITIONS.len()),
    ) -> Given {
        let text = condition.map(|at: usize| Condition::of(CONDITIONS[at].0));
        let resource = if tags.is_empty() { resource } else { SERVER };
        Given { bound: Bound { condition: text, tags: self::tags(&tags), ..bound(role, &members, resource) }, condition }
    }
}

proptest! {
    #[test]
    fn decisions_are_those_of_a_model_that_walks_everything(
        own in subsequence(&ASKED[..], 0..=4),
        members in proptest::collection::vec(subsequence(&PRINCIPALS[..], 0..=4), 2),
        bindings in proptest::collection::vec(a_binding(), 0..6),
        narrowed in subsequence(&ROLES[..], 0..2),
        within in select(&NODES[..]),
        tagged in proptest::collection::vec(subsequence(&TAGS[1..], 0..=2), 2),
    ) {
        let own = Permissions::of_patterns(own);
        let groups: Vec<_> = GROUPS.iter().zip(&members).map(|(group, members)| ((*group).to_owned(), texts(members))).collect();
        let named = bindings.iter().enumerate().map(|(at, given)| (format!("bindings/{at}"), given.bound.clone()));
        let namespaces = ["namespaces/a", "namespaces/ab"].into_iter().zip(&tagged);
        let tags_of = namespaces.clone().map(|(name, pairs)| (name.to_owned(), tags(pairs)));
        let access = Access::new([("roles/own".to_owned(), own)], groups.clone(), named, tags_of).at(noon);
        let role = |role: &str| match role {
            "roles/own" => own,
            "roles/missing" => Permissions::default(),
            role => built_in(role).unwrap().permissions(),
        };
        let lies_in = |node: &str, outer: &str| outer.is_empty() || format!("{node}/").starts_with(&format!("{outer}/"));
        // Whether a binding is on something that lies above a node.
        let is_above = |bound: &Bound, node: &str| match bound.tags.is_empty() {
            true => lies_in(node, &bound.resource),
            false => namespaces.clone().any(|(name, pairs)| {
                lies_in(node, name) && bound.tags.iter().all(|(key, value)| pairs.contains(&(key.as_str(), value.as_str())))
            }),
        };
        let is_below = |bound: &Bound, node: &str| match bound.tags.is_empty() {
            true => lies_in(&bound.resource, node),
            // On the server, namespaces that have the tags may come into being.
            false => node == SERVER,
        };
        let gives = |Given { bound, .. }: &Given, principal: &str, permission| {
            let is_member = bound.members.iter().any(|member| {
                let group = groups.iter().find(|(group, _)| group == member);
                member == principal
                    || member == ALL_AUTHENTICATED
                    || group.is_some_and(|(_, members)| members.iter().any(|member| member == principal))
            });
            is_member && role(&bound.role).has(permission)
        };
        let allowed = |principal: &str, permission: Permission, node: &str| bindings.iter().any(|given| {
            let is_met = given.is_met(principal, permission, node);
            gives(given, principal, permission) && is_above(&given.bound, node) && is_met
        });
        let for_good = |principal: &str, permission, node: &str| bindings.iter().any(|given| {
            given.condition.is_none() && gives(given, principal, permission) && is_above(&given.bound, node)
        });
        let perhaps = |principal: &str, permission, node: &str| bindings.iter().any(|given| {
            (given.condition.is_some() || !given.bound.tags.is_empty())
                && gives(given, principal, permission)
                && (given.condition.is_some() && is_above(&given.bound, node) || is_below(&given.bound, node))
        });
        for principal in PRINCIPALS {
            let bearer = Bearer {
                principal: principal.to_owned(),
                groups: Vec::new(),
                roles: texts(&narrowed),
                resource: within.to_owned(),
            };
            for name in ASKED {
                let permission = permission(name);
                let in_token = |node: &str| lies_in(node, within)
                    && (narrowed.is_empty() || narrowed.iter().any(|narrowed| role(narrowed).has(permission)));
                for node in NODES {
                    prop_assert_eq!(access.allows(principal, permission, node), allowed(principal, permission, node));
                    prop_assert_eq!(access.permissions(principal, node).has(permission), for_good(principal, permission, node));
                    let explained = access.explain(principal, permission, node);
                    prop_assert_eq!(!explained.is_empty(), allowed(principal, permission, node));
                    let may = |node: &str| allowed(principal, permission, node) && in_token(node);
                    prop_assert_eq!(bearer.may(&access, permission, node), may(node));
                    let may_give = for_good(principal, permission, node) && in_token(node);
                    prop_assert_eq!(bearer.permissions(&access, node).has(permission), may_give);
                    // The nodes are all that bindings and tokens name, so that there is one if anything below may be seen. Of what is
                    // there under a condition, nobody knows before they look.
                    let at = if lies_in(within, node) { within } else { node };
                    let some = NODES.iter().any(|below| lies_in(below, node) && may(below));
                    let some = some || in_token(at) && perhaps(principal, permission, at);
                    prop_assert_eq!(bearer.may_some(&access, permission, node), some);
                }
            }
        }
    }

    /// A name that a handler takes is decided on where it lies: on its model, its namespace, or the server.
    #[test]
    fn a_name_is_decided_on_as_it_is_parsed(text in "(namespaces/[a-b-]{0,2}/)?models/[a-b@-]{0,3}(@[a-b]{0,2})?(/versions/([0-9]|@?[a-b])(/artifacts/[a-b@/]{1,5})?)?|(namespaces|subscriptions)/[a-b-]{0,2}") {
        for of in [&NAMESPACES, &MODELS, &VERSIONS, &ARTIFACTS, &INSTANCES, &SUBSCRIPTIONS] {
            for name in [Name::parse(of, &text), Name::parse_parent(of, &text)].into_iter().flatten() {
                let expected = match name.of() {
                    of if std::ptr::eq(of, &SUBSCRIPTIONS) => SERVER.to_owned(),
                    of if std::ptr::eq(of, &NAMESPACES) => name.to_string(),
                    _ => name.within(&MODELS).to_string(),
                };
                prop_assert_eq!(node_of(&text), expected, "{}", text);
            }
        }
    }
}
