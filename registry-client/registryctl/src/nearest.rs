//! What may have been meant by the name of a metric or tag that nothing has: the registry takes any name, so a typo is no error.

use registry_client::{Error, pb};

use crate::Context;
use crate::output::{note, paths};
use crate::select::Of;

/// How many resources are asked for what they have.
const SAMPLE: i32 = 100;
/// How like another one a name has to be, from 0 to 1.
const SIMILAR: f64 = 0.75;

/// Says that nothing has a value at a path, such as `metrics.validation.aux`, and which one may have been meant.
pub(crate) async fn note_missing(context: &Context, of: Of, parent: String, path: &str) {
    let field = path.split('.').next().unwrap_or(path);
    // It is about a hint: without an answer there is none.
    let known = known(context, of, parent, field).await.unwrap_or_default();
    let things = of.plural();
    note(&format!("none of these {things} has {path}{}", hint(path, &known)));
}

fn hint(path: &str, known: &[String]) -> String {
    let score = |known: &&String| strsim::jaro_winkler(&path.to_lowercase(), &known.to_lowercase());
    let nearest = known.iter().filter(|known| score(known) > SIMILAR).max_by(|a, b| score(a).total_cmp(&score(b)));
    nearest.map_or_else(String::new, |nearest| format!("; did you mean {nearest}?"))
}

/// What some resources have in a field.
async fn known(context: &Context, of: Of, parent: String, field: &str) -> Result<Vec<String>, Error> {
    let read_mask = Some(prost_types::FieldMask { paths: vec![field.to_owned()] });
    let (page_size, client) = (SAMPLE, &context.client);
    let mut known = Vec::new();
    if of == Of::Models {
        let list = pb::ListModelsRequest { parent, page_size, read_mask, ..Default::default() };
        client.call(list).await?.models.iter().for_each(|model| known.extend(paths("Model", model, field)));
    } else {
        let order_by = "number desc".to_owned();
        let list = pb::ListVersionsRequest { parent, page_size, read_mask, order_by, ..Default::default() };
        client.call(list).await?.versions.iter().for_each(|version| known.extend(paths("Version", version, field)));
    }
    known.sort_unstable();
    known.dedup();
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_meant() {
        let known = ["metrics.test.auc", "metrics.validation.auc", "metrics.validation.f1"].map(str::to_owned);
        for (path, expected) in [
            ("metrics.validation.aux", "; did you mean metrics.validation.auc?"),
            ("metrics.Test.AUC", "; did you mean metrics.test.auc?"),
            ("tags.team", ""),
        ] {
            assert_eq!(hint(path, &known), expected, "{path}");
        }
        assert_eq!(hint("metrics.a.b", &[]), "");
    }
}
