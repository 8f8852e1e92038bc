//! The contract as one page of HTML, for reading and printing, without scripts.

use std::fmt::Write as _;

use serde_json::Value as Json;

const HEAD: &str = "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>Model Registry: reference</title>\n<style>\n\
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}\n\
code{font-family:ui-monospace,monospace;font-size:.9em;overflow-wrap:anywhere}\nsummary{cursor:pointer;padding:.2rem 0}\n\
.verb{display:inline-block;min-width:4.5rem;font-weight:600}\ntable{border-collapse:collapse;width:100%}\n\
td,th{border-top:1px solid #ccc;padding:.3rem .5rem;text-align:left;vertical-align:top}\n\
@media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#16181c}a{color:#8ab4ff}td,th{border-color:#444}}\n\
</style>\n</head>\n<body>\n<h1>Model Registry</h1>\n\
<p><a href=\"./\">The same to try it</a>, and <a href=\"../openapi.json\">for programs</a>.</p>\n";

/// The page of a document.
pub(super) fn html(document: &[u8]) -> String {
    let document: Json = serde_json::from_slice(document).unwrap_or_default();
    let mut page = HEAD.to_owned();
    text(&mut page, document["info"]["description"].as_str().unwrap_or_default());
    page += "<ul>\n";
    for tag in items(&document["tags"]) {
        let name = escaped(tag["name"].as_str().unwrap_or_default());
        let _ = writeln!(page, "<li><a href=\"#{name}\">{name}</a></li>");
    }
    page += "</ul>\n";
    for tag in items(&document["tags"]) {
        let name = tag["name"].as_str().unwrap_or_default();
        let _ = writeln!(page, "<h2 id=\"{0}\">{0}</h2>", escaped(name));
        text(&mut page, tag["description"].as_str().unwrap_or_default());
        for (path, operations) in document["paths"].as_object().into_iter().flatten() {
            for (verb, operation) in operations.as_object().into_iter().flatten() {
                if items(&operation["tags"]).any(|tag| tag == name) {
                    write_operation(&mut page, path, verb, operation);
                }
            }
        }
    }
    page += "<h2 id=\"schemas\">Messages</h2>\n";
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        let name = escaped(name);
        let _ = writeln!(page, "<details id=\"{name}\"><summary><code>{name}</code></summary>");
        text(&mut page, schema["description"].as_str().unwrap_or_default());
        let fields = schema["properties"].as_object().into_iter().flatten();
        table(&mut page, fields.map(|(name, field)| (name.as_str(), field, field["description"].as_str())));
        page += "</details>\n";
    }
    page + "</body>\n</html>\n"
}

fn write_operation(page: &mut String, path: &str, verb: &str, operation: &Json) {
    let id = escaped(operation["operationId"].as_str().unwrap_or_default());
    let _ = writeln!(
        page,
        "<details id=\"{id}\"><summary><span class=\"verb\">{}</span> <code>{}</code> {id}</summary>",
        verb.to_uppercase(),
        escaped(path),
    );
    text(page, operation["description"].as_str().unwrap_or_default());
    let parameters = items(&operation["parameters"]);
    table(
        page,
        parameters.map(|one| (one["name"].as_str().unwrap_or_default(), &one["schema"], one["description"].as_str())),
    );
    for (what, schema) in [
        ("Body", &operation["requestBody"]["content"]["application/json"]["schema"]),
        ("Answer", &operation["responses"]["200"]["content"]["application/json"]["schema"]),
        ("Each message", &operation["responses"]["200"]["content"]["application/x-ndjson"]["schema"]),
    ] {
        if !schema.is_null() {
            let _ = writeln!(page, "<p>{what}: {}</p>", kind(schema));
        }
    }
    *page += "</details>\n";
}

fn table<'a>(page: &mut String, rows: impl Iterator<Item = (&'a str, &'a Json, Option<&'a str>)>) {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return;
    }
    *page += "<table>\n";
    for (name, schema, description) in rows {
        let _ = write!(page, "<tr><td><code>{}</code></td><td>{}</td><td>", escaped(name), kind(schema));
        text(page, description.unwrap_or_default());
        *page += "</td></tr>\n";
    }
    *page += "</table>\n";
}

/// What a value is, with a link to it if it has a name.
fn kind(schema: &Json) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) {
        let name = escaped(name);
        return format!("<a href=\"#{name}\"><code>{name}</code></a>");
    }
    match schema["type"].as_str() {
        Some("array") => format!("list of {}", kind(&schema["items"])),
        Some("object") if schema["additionalProperties"].is_object() => {
            format!("map of {}", kind(&schema["additionalProperties"]))
        }
        Some(of) => escaped(schema["format"].as_str().unwrap_or(of)),
        None if schema["anyOf"].is_array() => "number".to_owned(),
        None => "any".to_owned(),
    }
}

/// A text of the contract: paragraphs and lists, and what is code or stressed in them.
fn text(page: &mut String, text: &str) {
    for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
        let mut parts = format!("\n{paragraph}").split("\n- ").map(str::to_owned).collect::<Vec<_>>().into_iter();
        let before = parts.next().unwrap_or_default();
        if !before.trim().is_empty() {
            let _ = writeln!(page, "<p>{}</p>", inline(before.trim()));
        }
        let items: Vec<_> = parts.map(|item| format!("<li>{}</li>", inline(&item))).collect();
        if !items.is_empty() {
            let _ = writeln!(page, "<ul>{}</ul>", items.concat());
        }
    }
}

fn inline(text: &str) -> String {
    let parts = text.split('`').enumerate().map(|(at, part)| match at % 2 {
        0 => {
            let strong = part.split("**").enumerate().map(|(at, part)| match at % 2 {
                0 => between(&escaped(part), "*", "em"),
                _ => format!("<strong>{}</strong>", escaped(part)),
            });
            strong.collect()
        }
        _ => format!("<code>{}</code>", escaped(part)),
    });
    parts.collect()
}

/// What stands between two marks, in an element. A mark alone is one of the text.
fn between(text: &str, mark: &str, element: &str) -> String {
    let parts: Vec<_> = text.split(mark).collect();
    if parts.len() % 2 == 0 {
        return text.to_owned();
    }
    let parts = parts.into_iter().enumerate().map(|(at, part)| match at % 2 {
        0 => part.to_owned(),
        _ => format!("<{element}>{part}</{element}>"),
    });
    parts.collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn items(list: &Json) -> impl Iterator<Item = &Json> {
    list.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_the_contract_is_html_of_its_own() {
        let html = |given: &str| {
            let mut page = String::new();
            text(&mut page, given);
            page
        };
        assert_eq!(html("a `b<c` *d* **e**"), "<p>a <code>b&lt;c</code> <em>d</em> <strong>e</strong></p>\n");
        assert_eq!(html("two * three < `x`"), "<p>two * three &lt; <code>x</code></p>\n");
        assert_eq!(html("a:\n- b\n- c\n  d\n\ne"), "<p>a:</p>\n<ul><li>b</li><li>c\n  d</li></ul>\n<p>e</p>\n");
    }
}
