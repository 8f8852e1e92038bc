//! Path templates of `google.api.http`: `/v1/{parent=namespaces/*}/models:count`.
//!
//! The grammar is in the comments of `google/api/http.proto`.

/// A path with the parts of it that fields of the request are taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    pub(crate) segments: Vec<Segment>,
    pub(crate) variables: Vec<Variable>,
    /// What stands behind a colon at the end: `count`.
    pub(crate) verb: Option<String>,
}

/// What one segment of a path has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    /// This text.
    Literal(String),
    /// Any one segment: `*`.
    One,
    /// All that follow, at least one: `**`.
    Rest,
}

/// Segments that a field is taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    /// The field, by the names of those that it lies in: `model.name`.
    pub(crate) field: String,
    /// The first of its segments.
    pub(crate) from: usize,
    /// The one behind its last.
    pub(crate) to: usize,
}

impl Template {
    /// Reads a template. `None` if it is not one, or has something behind `**`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut rest = text;
        let mut template = Self { segments: Vec::new(), variables: Vec::new(), verb: None };
        while let Some(after) = rest.strip_prefix('/') {
            rest = match after.strip_prefix('{') {
                Some(after) => {
                    let (variable, after) = after.split_once('}')?;
                    let (field, segments) = variable.split_once('=').unwrap_or((variable, "*"));
                    let from = template.segments.len();
                    segments.split('/').try_for_each(|segment| template.push(segment))?;
                    let to = template.segments.len();
                    template.variables.push(Variable { field: field.to_owned(), from, to });
                    after
                }
                None => {
                    let (segment, after) = after.split_at(after.find(['/', ':']).unwrap_or(after.len()));
                    template.push(segment)?;
                    after
                }
            };
        }
        template.verb = match rest {
            "" => None,
            rest => Some(rest.strip_prefix(':').filter(|verb| !verb.is_empty())?.to_owned()),
        };
        (!template.segments.is_empty()).then_some(template)
    }

    /// Whether the segments of a path are those of the template.
    pub(crate) fn fits(&self, path: &[&str]) -> bool {
        let is_open = self.segments.last() == Some(&Segment::Rest);
        let long_enough = if is_open { path.len() >= self.segments.len() } else { path.len() == self.segments.len() };
        long_enough
            && self.segments.iter().zip(path).all(|(segment, given)| match segment {
                Segment::Literal(text) => text == given,
                Segment::One | Segment::Rest => !given.is_empty(),
            })
    }

    fn push(&mut self, segment: &str) -> Option<()> {
        if self.segments.last() == Some(&Segment::Rest) {
            return None;
        }
        self.segments.push(match segment {
            "" => return None,
            "*" => Segment::One,
            "**" => Segment::Rest,
            literal => Segment::Literal(literal.to_owned()),
        });
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(text: &str) -> Segment {
        Segment::Literal(text.to_owned())
    }

    #[test]
    fn a_template_is_its_segments_its_variables_and_its_verb() {
        let template = Template::parse("/v1/{parent=namespaces/*}/models:count").unwrap();
        assert_eq!(template.segments, [literal("v1"), literal("namespaces"), Segment::One, literal("models")]);
        assert_eq!(template.variables, [Variable { field: "parent".to_owned(), from: 1, to: 3 }]);
        assert_eq!(template.verb.as_deref(), Some("count"));

        let template = Template::parse("/v1/{model.name=namespaces/*/models/*}").unwrap();
        assert_eq!(template.variables, [Variable { field: "model.name".to_owned(), from: 1, to: 5 }]);
        assert_eq!(template.verb, None);

        let template = Template::parse("/v1/{id}/files/{path=**}").unwrap();
        assert_eq!(template.segments, [literal("v1"), Segment::One, literal("files"), Segment::Rest]);
        assert_eq!(template.variables[1], Variable { field: "path".to_owned(), from: 3, to: 4 });

        assert_eq!(Template::parse("/v1:getStatus").unwrap().verb.as_deref(), Some("getStatus"));
        assert_eq!(Template::parse("/v1/{name=a/**}:list").unwrap().verb.as_deref(), Some("list"));
    }

    #[test]
    fn a_path_fits_a_template() {
        let fits = |template: &str, path: &str| {
            Template::parse(template).unwrap().fits(&path.split('/').skip(1).collect::<Vec<_>>())
        };
        assert!(fits("/v1/{name=a/*}/files/{path=**}", "/v1/a/b/files/c/d"));
        for path in ["/v1/a/b/files", "/v1/a/b/files/", "/v1/a//files/c", "/v1/b/b/files/c", "/v2/a/b/files/c"] {
            assert!(!fits("/v1/{name=a/*}/files/{path=**}", path), "{path}");
        }
        assert!(fits("/v1/a", "/v1/a") && !fits("/v1/a", "/v1/a/b"));
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for text in ["", "/", "v1", "/v1/", "/v1//a", "/v1/{a", "/v1/{a=}", "/v1:", "/v1/{a=**}/b", "/v1/a}:", "/**/a"]
        {
            assert_eq!(Template::parse(text), None, "{text}");
        }
    }
}
