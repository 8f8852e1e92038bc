//! `set` and `tag`: what is said of a namespace, model or version, changed after it was made.

use registry_client::{Kind, pb};

use crate::args::{IfMatch, Set, Tag, TagChange};
use crate::metadata::{self, Cleared, Described, Taggable};
use crate::output::{self, Lines, brief};
use crate::{Context, Failure, Usage, namespaces};

pub(crate) async fn set(context: &Context, command: Set) -> Result<(), Failure> {
    let Set { name, clear, dry_run, if_match, common, titled, of_model, of_version } = command;
    let refuse = |option: Option<&str>, kind: &str| match option {
        Some(option) => Err(Usage(format!("{option} is nothing that a {kind} has, and {name} is one"))),
        None => Ok(()),
    };
    let titled_given = titled.display_name.as_ref().map(|_| "--display-name");
    let is_empty = clear.is_empty()
        && common.metadata.is_none()
        && common.description.is_none()
        && common.tags.is_empty()
        && titled_given.or(of_model.given()).or(of_version.given()).is_none();
    if is_empty {
        return Err(Usage("nothing is to be changed: see --help".to_owned()).into());
    }
    let (client, named) = (&context.client, name.to_string());
    match name.kind() {
        Kind::Version => {
            refuse(titled_given.or(of_model.given()), "version")?;
            let (file, cleared) = (metadata::read::<pb::Version>(&common).await?, cleared::<pb::Version>(&clear)?);
            let edit = client.edit(named, move |version: &mut pb::Version| {
                cleared.iter().for_each(|cleared| cleared.apply(version));
                file.iter().for_each(|file| file.apply(version));
                common.apply(version);
                of_version.apply(version);
            });
            let edited = if_match.of(edit).validate_only(dry_run).await?;
            say(context, &edited, dry_run, output::version)
        }
        Kind::Model => {
            refuse(of_version.given(), "model")?;
            let (file, cleared) = (metadata::read::<pb::Model>(&common).await?, cleared::<pb::Model>(&clear)?);
            let edit = client.edit(named, move |model: &mut pb::Model| {
                cleared.iter().for_each(|cleared| cleared.apply(model));
                file.iter().for_each(|file| file.apply(model));
                common.apply(model);
                titled.apply(&mut model.display_name);
                of_model.apply(model);
            });
            let edited = if_match.of(edit).validate_only(dry_run).await?;
            say(context, &edited, dry_run, output::model)
        }
        Kind::Namespace => {
            refuse(of_model.given().or(of_version.given()), "namespace")?;
            let (file, cleared) = (metadata::read::<pb::Namespace>(&common).await?, cleared::<pb::Namespace>(&clear)?);
            let edit = client.edit(named, move |namespace: &mut pb::Namespace| {
                cleared.iter().for_each(|cleared| cleared.apply(namespace));
                file.iter().for_each(|file| file.apply(namespace));
                common.apply(namespace);
                titled.apply(&mut namespace.display_name);
            });
            let edited = if_match.of(edit).validate_only(dry_run).await?;
            say(context, &edited, dry_run, namespaces::text)
        }
        kind => Err(Usage(format!("{kind:?}s can't be changed: what is said of one is said when it is made")).into()),
    }
}

pub(crate) async fn tag(context: &Context, command: Tag) -> Result<(), Failure> {
    let Tag { name, changes, if_match } = command;
    match name.kind() {
        Kind::Version => tags::<pb::Version>(context, name.into(), changes, if_match).await,
        Kind::Model => tags::<pb::Model>(context, name.into(), changes, if_match).await,
        Kind::Namespace => tags::<pb::Namespace>(context, name.into(), changes, if_match).await,
        kind => Err(Usage(format!("the tags of {kind:?}s can't be changed: give them when it is made")).into()),
    }
}

async fn tags<R: Described + Taggable>(
    context: &Context,
    name: String,
    changes: Vec<TagChange>,
    if_match: IfMatch,
) -> Result<(), Failure> {
    let edit = context.client.edit(name, move |resource: &mut R| {
        let (_, tags) = resource.words();
        for change in &changes {
            match change {
                TagChange::Set(key, value) => drop(tags.insert(key.clone(), value.clone())),
                TagChange::Remove(key) => drop(tags.remove(key)),
            }
        }
    });
    let tagged = if_match.of(edit).await?;
    context.out.message(R::MESSAGE, &tagged, |tagged| {
        let (name, mut tagged) = (tagged.meta().name.to_owned(), tagged.clone());
        let (_, tags) = tagged.words();
        let tags: Vec<_> = tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
        match tags.is_empty() {
            true => format!("{} has no tags", brief(&name)),
            false => format!("{} has the tags {}", brief(&name), tags.join(", ")),
        }
    })
}

fn cleared<R: Described>(fields: &[String]) -> Result<Vec<Cleared>, Failure> {
    fields.iter().map(|field| Cleared::of::<R>(field)).collect()
}

/// Says what it is now; of a dry run, all that it would be.
fn say<R: Described>(context: &Context, edited: &R, dry_run: bool, text: impl Fn(&R) -> Lines) -> Result<(), Failure> {
    context.out.message(R::MESSAGE, edited, |edited| match dry_run {
        true => text(edited),
        false => format!("changed {}", brief(edited.meta().name)).into(),
    })
}
