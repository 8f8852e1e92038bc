//! What a filled registry has, as far as those who ask it have to know.

use rand::RngExt as _;
use registry_client::{RegistryClient, pb};

use super::questions::PAGE;
use crate::Failure;
use crate::failure::Hinted;

const FILL: &str = "fill it with registryctl bench fill";
/// How many resources are read at once.
const READ: i32 = 1000;

/// The models of a namespace, and how many versions they and those before them have.
pub(super) struct Stock {
    models: Vec<(String, u64)>,
    /// Those with a page of versions.
    large: Vec<String>,
    /// That with the most versions, and when half of them were made.
    pub(super) largest: String,
    pub(super) halfway: Option<prost_types::Timestamp>,
    /// Models that have a version in production, and the revision that brought it there.
    promoted: Vec<(String, i64)>,
}

impl Stock {
    pub(super) async fn read(client: &RegistryClient, namespace: &str) -> Result<Self, Failure> {
        let read = Self::all(client, namespace).await;
        read.map_err(|error| Hinted::if_for(pb::ErrorReason::ResourceNotFound, error, FILL))
    }

    async fn all(client: &RegistryClient, namespace: &str) -> Result<Self, Failure> {
        let (mut models, mut large, mut versions, mut page_token) = (Vec::new(), Vec::new(), 0, String::new());
        let mut largest = (0, String::new());
        loop {
            let parent = namespace.to_owned();
            let request = pb::ListModelsRequest { parent, page_token, page_size: READ, ..Default::default() };
            let page = client.call(request).await?;
            for model in page.models.into_iter().filter(|model| model.version_count > 0) {
                versions += model.version_count.cast_unsigned();
                if model.version_count >= PAGE as i64 {
                    large.push(model.name.clone());
                }
                largest = largest.max((model.version_count, model.name.clone()));
                models.push((model.name, versions));
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        if large.is_empty() {
            return Err(Hinted::of(format!("no model of {namespace} has {PAGE} versions"), FILL).into());
        }
        let promoted = promoted(client, namespace).await?;
        if promoted.is_empty() {
            return Err(Hinted::of(format!("no version of {namespace} is in production"), FILL).into());
        }
        let (count, largest) = largest;
        let halfway = client.get_version(format!("{largest}/versions/{}", count / 2)).await?.create_time;
        Ok(Self { models, large, largest, halfway, promoted })
    }

    pub(super) fn models(&self) -> usize {
        self.models.len()
    }

    pub(super) fn versions(&self) -> u64 {
        self.models.last().map_or(0, |(_, versions)| *versions)
    }

    /// The name of any version, each as likely as the next, if none was deleted.
    pub(super) fn version(&self) -> String {
        let any = rand::rng().random_range(0..self.versions().max(1));
        let at = self.models.partition_point(|(_, versions)| *versions <= any);
        let before = at.checked_sub(1).map_or(0, |before| self.models[before].1);
        format!("{}/versions/{}", self.models[at].0, any - before + 1)
    }

    /// Any model with a page of versions.
    pub(super) fn large(&self) -> String {
        self.large[rand::rng().random_range(..self.large.len())].clone()
    }

    /// Any model with a version in production, and since which revision.
    pub(super) fn promoted(&self) -> (String, i64) {
        self.promoted[rand::rng().random_range(..self.promoted.len())].clone()
    }
}

/// Models with a version in production, as many as a page has.
async fn promoted(client: &RegistryClient, namespace: &str) -> Result<Vec<(String, i64)>, Failure> {
    let request = pb::ListVersionsRequest {
        parent: format!("{namespace}/models/-"),
        filter: r#"version.stage == "PRODUCTION""#.to_owned(),
        page_size: READ,
        ..Default::default()
    };
    let page = client.call(request).await?;
    let of_model =
        |version: pb::Version| Some((version.name.rsplit_once("/versions/")?.0.to_owned(), version.stage_revision));
    Ok(page.versions.into_iter().filter_map(of_model).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn any_version_is_one_that_is_there() {
        let models = vec![("a".to_owned(), 2), ("b".to_owned(), 3), ("c".to_owned(), 5)];
        let stock = Stock { models, large: Vec::new(), largest: String::new(), halfway: None, promoted: Vec::new() };
        let names: HashSet<_> = (0..1000).map(|_| stock.version()).collect();
        let expected = ["a/versions/1", "a/versions/2", "b/versions/1", "c/versions/1", "c/versions/2"];
        assert_eq!(names, expected.map(str::to_owned).into());
    }
}
