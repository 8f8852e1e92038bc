//! Which method of the service a path is of, as the annotations of the descriptors say it.

use http::Method;
use percent_encoding::percent_decode_str;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, MessageDescriptor, MethodDescriptor, Value};

use crate::refusal::Refusal;
use crate::schema::{MessageAt, Schema};
use crate::template::{Segment, Template, Variable};

/// The methods that a path is looked up under to say which of them it has.
static METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// One way to call a method of the service.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    /// The HTTP method.
    pub(crate) method: Method,
    pub(crate) template: Template,
    /// The method of the service.
    pub(crate) rpc: MethodDescriptor,
    /// Where gRPC has it: `/modelregistry.v1.ModelService/GetModel`.
    pub(crate) path: String,
    pub(crate) body: BodyOf,
    /// What it takes, and what it answers.
    pub(crate) input: MessageAt,
    pub(crate) output: MessageAt,
}

/// What the body of a request is.
#[derive(Debug, Clone)]
pub(crate) enum BodyOf {
    /// Nothing: all fields are in the path and in the query.
    Nothing,
    /// The whole message.
    Message,
    /// This field of it.
    Field(FieldDescriptor),
}

/// A part of a path that a field is taken from.
#[derive(Debug, Clone)]
pub(crate) struct Captured {
    pub(crate) field: String,
    pub(crate) text: String,
}

/// All ways to call a service.
#[derive(Debug)]
pub(crate) struct Routes {
    routes: Vec<Route>,
    by_path: matchit::Router<usize>,
}

impl Routes {
    /// Those that the annotations of the services in a package have.
    ///
    /// # Panics
    /// If an annotation can't be read, or two methods have the same path: a test of the contract finds that.
    pub(crate) fn new(pool: &DescriptorPool, schema: &Schema, package: &str) -> Self {
        let services = pool.services().filter(|service| service.package_name() == package);
        let methods = services.flat_map(|service| service.methods().collect::<Vec<_>>());
        let routes: Vec<_> = methods.flat_map(|method| of_method(pool, schema, &method)).collect();
        let mut by_path = matchit::Router::new();
        for (at, route) in routes.iter().enumerate() {
            let key = key(&route.method, route.template.verb.as_deref(), &pattern(&route.template));
            by_path.insert(key, at).unwrap_or_else(|error| panic!("{}: {error}", route.path));
        }
        Self { routes, by_path }
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[Route] {
        &self.routes
    }

    /// The one with this method and path, and what its fields are taken from.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Result<(usize, Vec<Captured>), Refusal> {
        let found = self.at(method, path);
        let others = match found {
            Some((_, rest)) if rest != path => Vec::new(),
            _ => self.verbal(path),
        };
        let is_file = |at: usize| self.routes[at].template.segments.last() == Some(&Segment::Rest);
        // What other methods take for a verb is no end of a name, except of that of a file.
        let is_it = |(at, rest): &(usize, &str)| *rest != path || others.is_empty() || is_file(*at);
        let Some((route, path)) = found.filter(is_it) else {
            let there = METHODS.iter().filter(|&other| self.at(other, path).is_some());
            let allowed = if others.is_empty() { there.map(Method::as_str).collect() } else { others };
            return Err(match allowed {
                none if none.is_empty() => Refusal::no_path(path),
                allowed => Refusal::no_method(method, path, &allowed.join(", ")),
            });
        };
        Ok((route, captured(&self.routes[route].template, path)?))
    }

    /// The methods for which a path ends with a verb.
    fn verbal(&self, path: &str) -> Vec<&'static str> {
        if !path.contains(':') {
            return Vec::new();
        }
        let verbal = METHODS.iter().filter(|method| self.at(method, path).is_some_and(|(_, rest)| rest != path));
        verbal.map(Method::as_str).collect()
    }

    /// The route, and the path without its verb.
    fn at<'p>(&self, method: &Method, path: &'p str) -> Option<(usize, &'p str)> {
        let found = |verb, path| Some(*self.by_path.at(&key(method, verb, path)).ok()?.value);
        // What looks like a verb may be the end of an id.
        let verbal = path.rsplit_once(':').filter(|(_, verb)| !verb.is_empty() && !verb.contains('/'));
        if let Some((path, verb)) = verbal
            && let Some(at) = found(Some(verb), path)
        {
            return Some((at, path));
        }
        Some((found(None, path)?, path))
    }
}

/// What routes are found by. A verb and a method stand in front, so that both are parts of the path to be looked up.
fn key(method: &Method, verb: Option<&str>, path: &str) -> String {
    format!("/{method}:{}{path}", verb.unwrap_or_default())
}

/// A template as the router has it. Variables are named after their places: to the router, those at one place are the same.
fn pattern(template: &Template) -> String {
    let segments = template.segments.iter().enumerate().map(|(at, segment)| match segment {
        Segment::Literal(text) => format!("/{text}"),
        Segment::One => format!("/{{s{at}}}"),
        Segment::Rest => format!("/{{*s{at}}}"),
    });
    segments.collect()
}

/// What the variables of a template are in a path that fits it.
pub(crate) fn captured(template: &Template, path: &str) -> Result<Vec<Captured>, Refusal> {
    let segments: Vec<_> = path.split('/').skip(1).collect();
    let captured = template.variables.iter().map(|variable| {
        Ok::<_, Refusal>(Captured { field: variable.field.clone(), text: text_of(template, variable, &segments)? })
    });
    captured.collect()
}

/// What a variable is in a path. A slash that is written in another way would give a name more parts than the path has.
fn text_of(template: &Template, variable: &Variable, segments: &[&str]) -> Result<String, Refusal> {
    let is_rest = template.segments[variable.to - 1] == Segment::Rest;
    let to = if is_rest { segments.len() } else { variable.to };
    let mut text = String::new();
    for (at, segment) in segments[variable.from..to].iter().enumerate() {
        let decoded = percent_decode_str(segment).decode_utf8();
        let decoded = decoded.map_err(|_| Refusal::invalid(&variable.field, "is not UTF-8 in the path"))?;
        let is_one = !matches!(template.segments.get(variable.from + at), None | Some(Segment::Rest));
        if is_one && decoded.contains('/') {
            return Err(Refusal::invalid(&variable.field, "has a slash inside a part of the path"));
        }
        if at > 0 {
            text.push('/');
        }
        text += &decoded;
    }
    Ok(text)
}

fn of_method(pool: &DescriptorPool, schema: &Schema, method: &MethodDescriptor) -> Vec<Route> {
    let annotation = pool.get_extension_by_name("google.api.http");
    let options = method.options();
    let Some(annotation) = annotation.filter(|annotation| options.has_extension(annotation)) else { return Vec::new() };
    let rule = options.get_extension(&annotation);
    let rule = rule.as_message().expect("it is a message");
    let additional = rule.get_field_by_name("additional_bindings");
    let additional = additional.iter().filter_map(|rules| rules.as_list()).flatten().filter_map(Value::as_message);
    std::iter::once(rule).chain(additional).map(|rule| of_rule(schema, method, rule)).collect()
}

fn of_rule(schema: &Schema, method: &MethodDescriptor, rule: &DynamicMessage) -> Route {
    let text = |field: &str| {
        let value = rule.get_field_by_name(field);
        value.and_then(|value| value.as_str().map(str::to_owned)).filter(|text| !text.is_empty())
    };
    let verbs = METHODS.iter().map(|verb| (verb, text(&verb.as_str().to_lowercase())));
    let (verb, path) = verbs.filter_map(|(verb, path)| Some((verb, path?))).next().expect("a rule has a path");
    let body = match text("body") {
        None => BodyOf::Nothing,
        Some(all) if all == "*" => BodyOf::Message,
        Some(field) => BodyOf::Field(method.input().get_field_by_name(&field).expect("a body is a field")),
    };
    let at = |message: MessageDescriptor| schema.message(message.full_name()).expect("it is of the same pool");
    Route {
        method: verb.clone(),
        template: Template::parse(&path).unwrap_or_else(|| panic!("{path} is no template")),
        rpc: method.clone(),
        path: format!("/{}/{}", method.parent_service().full_name(), method.name()),
        body,
        input: at(method.input()),
        output: at(method.output()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{PACKAGE, pool};

    fn found(method: Method, path: &str) -> Result<(String, Vec<(String, String)>), String> {
        let pool = pool();
        let routes = Routes::new(&pool, &Schema::new(&pool), PACKAGE);
        let found = routes.find(&method, path).map_err(|refusal| refusal.to_string())?;
        let captured = found.1.into_iter().map(|captured| (captured.field, captured.text));
        Ok((routes.routes[found.0].rpc.name().to_owned(), captured.collect()))
    }

    #[test]
    fn a_path_is_of_a_method_with_its_fields() {
        let version = "namespaces/default/models/fraud/versions";
        for (method, path, rpc, fields) in [
            (Method::GET, "/v1:getStatus".to_owned(), "GetStatus", vec![]),
            (Method::GET, "/v1/namespaces".to_owned(), "ListNamespaces", vec![]),
            (Method::GET, "/v1/namespaces:listUsage".to_owned(), "ListUsage", vec![]),
            (Method::POST, "/v1/namespaces/a/models".to_owned(), "CreateModel", vec![("parent", "namespaces/a")]),
            (Method::GET, "/v1/namespaces/a/models:count".to_owned(), "CountModels", vec![("parent", "namespaces/a")]),
            (
                Method::PATCH,
                "/v1/namespaces/a/models/b".to_owned(),
                "UpdateModel",
                vec![("model.name", "namespaces/a/models/b")],
            ),
            // What stands behind a colon is a verb only if there is one of that name.
            (Method::GET, format!("/v1/{version}/1:0"), "GetVersion", vec![("name", &*format!("{version}/1:0"))]),
            (
                Method::POST,
                format!("/v1/{version}/7:finalize"),
                "FinalizeVersion",
                vec![("name", &*format!("{version}/7"))],
            ),
            (
                Method::GET,
                format!("/v1/{version}/1.0+cu%31%32/artifacts/a%20b/c%2Fd"),
                "GetArtifact",
                vec![("name", &*format!("{version}/1.0+cu12/artifacts/a b/c/d"))],
            ),
            (
                Method::GET,
                format!("/v1/{version}/1/artifacts/a/b:listChunks"),
                "ListChunks",
                vec![("parent", &*format!("{version}/1/artifacts/a/b"))],
            ),
            (
                Method::GET,
                format!("/v1/{version}/1/artifacts/b:"),
                "GetArtifact",
                vec![("name", &*format!("{version}/1/artifacts/b:"))],
            ),
            // A file may be called like that.
            (
                Method::GET,
                format!("/v1/{version}/1/artifacts/b%3AlistChunks"),
                "GetArtifact",
                vec![("name", &*format!("{version}/1/artifacts/b:listChunks"))],
            ),
        ] {
            let fields = fields.into_iter().map(|(field, text)| (field.to_owned(), text.to_owned())).collect();
            assert_eq!(found(method, &path), Ok((rpc.to_owned(), fields)), "{path}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for (method, path, said) in [
            (Method::GET, "/", "there is nothing at \"/\""),
            (Method::GET, "/v1", "there is nothing at \"/v1\""),
            (Method::GET, "/v2/namespaces", "there is nothing at \"/v2/namespaces\""),
            (Method::GET, "/v1/namespaces/", "there is nothing at \"/v1/namespaces/\""),
            (Method::GET, "/v1/namespaces:", "there is nothing at \"/v1/namespaces:\""),
            (Method::GET, "/v1//namespaces", "there is nothing at \"/v1//namespaces\""),
            (Method::GET, "/v1/../v1/namespaces", "there is nothing at \"/v1/../v1/namespaces\""),
            (Method::PUT, "/v1/namespaces", "PUT can't be used on \"/v1/namespaces\", but GET, POST can"),
            (
                Method::GET,
                "/v1/namespaces/a/models/b/versions/1:finalize",
                "GET can't be used on \"/v1/namespaces/a/models/b/versions/1:finalize\", but POST can",
            ),
            (Method::GET, "/v1/namespaces/a%2Fb", "name: has a slash inside a part of the path"),
            (Method::GET, "/v1/namespaces/%FF", "name: is not UTF-8 in the path"),
        ] {
            assert_eq!(found(method, path), Err(said.to_owned()), "{path}");
        }
    }
}
