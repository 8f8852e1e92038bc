//! What people see in the database: a view for each kind that has one, and comments that say what the numbers mean.

use super::slots::{self, SLOTS};
use crate::store::{FactType, FactView, KindLayout, Layout};

/// The statements that make all of it. They can be run again.
pub(super) fn definition(layout: &Layout) -> String {
    let views = layout.kinds.iter().filter_map(|known| Some(view(known, known.view.as_ref()?)));
    views.chain(numbers(layout)).collect::<Vec<_>>().join("\n")
}

fn view(known: &KindLayout, FactView { about, facts, .. }: &FactView) -> String {
    let (name, kind) = (known.name, known.kind.0);
    let columns = facts.iter().map(|fact| match fact.r#type {
        FactType::Text => format!("facts ->> '{0}' AS {0}", fact.name),
        FactType::Time => format!("(facts ->> '{0}')::timestamptz AS {0}", fact.name),
    });
    let columns: Vec<_> = columns.chain(["revision, octet_length(payload) AS bytes".to_owned()]).collect();
    let select = format!(
        "SELECT {} FROM (SELECT revision, payload, facts::jsonb AS facts FROM record WHERE kind = {kind}) AS known",
        columns.join(", ")
    );
    let mut statements = vec![
        // A view can be replaced only by one that adds columns behind its own.
        format!(
            "DO $view$ BEGIN
                CREATE OR REPLACE VIEW {name} AS {select};
            EXCEPTION WHEN invalid_table_definition THEN
                DROP VIEW {name};
                CREATE VIEW {name} AS {select};
            END $view$;"
        ),
        comment(&format!("VIEW {name}"), about),
    ];
    let own = [("revision", "The revision that wrote it"), ("bytes", "How long its message is")];
    for (column, about) in facts.iter().map(|fact| (fact.name, fact.about)).chain(own) {
        statements.push(comment(&format!("COLUMN {name}.{column}"), about));
    }
    statements.join("\n")
}

/// Comments on the columns that only the layout explains.
fn numbers(layout: &Layout) -> Vec<String> {
    let kinds: Vec<_> = layout.kinds.iter().map(|known| format!("{} {}", known.kind.0, known.name)).collect();
    let mut statements = vec![comment("COLUMN record.kind", &kinds.join(", "))];
    for slot in 1..=SLOTS {
        let listed =
            slots_of(layout, |known, number| number == slot && slots::at(layout, known.kind, number).is_some());
        let about = format!("The place in index {slot} of the kind; null: it has none. {}", listed.join("; "));
        statements.push(comment(&format!("COLUMN record.{}", slots::column(slot)), about.trim_end()));
    }
    let listed = slots_of(layout, |known, number| slots::at(layout, known.kind, number).is_none());
    let about = format!("Which index of the kind. {}", listed.join("; "));
    statements.push(comment("COLUMN place.slot", about.trim_end()));
    statements
}

/// The slots that fulfil a condition, for people.
fn slots_of(layout: &Layout, wanted: impl Fn(&KindLayout, u8) -> bool) -> Vec<String> {
    let all = layout.kinds.iter().flat_map(|known| known.slots.iter().map(move |slot| (known, slot)));
    all.filter(|(known, slot)| wanted(known, slot.number))
        .map(|(known, slot)| format!("{} of {}: {}", slot.number, known.name, slot.about))
        .collect()
}

fn comment(on: &str, text: &str) -> String {
    format!("COMMENT ON {on} IS '{}';", text.replace('\'', "''"))
}
