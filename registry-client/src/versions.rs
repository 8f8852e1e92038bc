//! Versions.

use std::time::Duration;

use crate::call::setters;
use crate::models::mask;
use crate::names::{complete, complete_all};
use crate::work::wire;
use crate::{Call, RegistryClient, pb};

/// Versions. A version goes by its number (`fraud/versions/7`), its id (`fraud/versions/1.4.0`) or an alias
/// (`fraud@production`).
impl RegistryClient {
    /// Makes the next version of a model, PENDING: upload its artifacts, then [finalize](Self::finalize_version) it. To do all
    /// of that with a folder, see [`publish`](Self::publish).
    pub fn create_version(&self, model: impl Into<String>) -> Call<pb::CreateVersionRequest> {
        self.call(pb::CreateVersionRequest { parent: complete(model), ..Default::default() })
    }

    /// One version, also a deleted one unless it is asked for by alias.
    pub fn get_version(&self, name: impl Into<String>) -> Call<pb::GetVersionRequest> {
        self.call(pb::GetVersionRequest { name: complete(name), ..Default::default() })
    }

    /// The versions of a model, or of all models of a namespace (`namespaces/risk/models/-`).
    pub fn list_versions(&self, model: impl Into<String>) -> Call<pb::ListVersionsRequest> {
        self.call(pb::ListVersionsRequest { parent: complete(model), ..Default::default() })
    }

    /// Up to 100 versions at once, in the order asked for.
    pub fn batch_get_versions(
        &self,
        names: impl IntoIterator<Item = impl Into<String>>,
    ) -> Call<pb::BatchGetVersionsRequest> {
        self.call(pb::BatchGetVersionsRequest { names: complete_all(names), ..Default::default() })
    }

    /// Changes a version: those of its changeable fields that are not empty, or those that [`fields`](Call::fields) names.
    ///
    /// If the version has an etag, [`is_conflict`](crate::Error::is_conflict) unless it is still the current one.
    pub fn update_version(&self, mut version: pb::Version) -> Call<pb::UpdateVersionRequest> {
        version.name = complete(version.name);
        self.call(pb::UpdateVersionRequest { version: Some(version), ..Default::default() })
    }

    /// Ends the filling of a PENDING version. It is READY then, or FAILED with [`failed`](Call::failed).
    pub fn finalize_version(&self, name: impl Into<String>) -> Call<pb::FinalizeVersionRequest> {
        self.call(pb::FinalizeVersionRequest { name: complete(name), ..Default::default() })
    }

    /// Marks a version as deleted.
    pub fn delete_version(&self, name: impl Into<String>) -> Call<pb::DeleteVersionRequest> {
        self.call(pb::DeleteVersionRequest { name: complete(name), ..Default::default() })
    }

    /// Takes a deletion back.
    pub fn undelete_version(&self, name: impl Into<String>) -> Call<pb::UndeleteVersionRequest> {
        self.call(pb::UndeleteVersionRequest { name: complete(name), ..Default::default() })
    }

    /// Gives up the artifacts of a deleted version at once, and for good.
    pub fn purge_version(&self, name: impl Into<String>) -> Call<pb::PurgeVersionRequest> {
        self.call(pb::PurgeVersionRequest { name: complete(name), ..Default::default() })
    }

    /// Reports what something outside of the registry found out about a version, or that it was begun: the gates of a policy may wait for it.
    ///
    /// ```no_run
    /// # use registry_client::pb::CheckState;
    /// # async fn example(client: registry_client::RegistryClient) -> Result<(), registry_client::Error> {
    /// let found = client.report_check("fraud/versions/7", "integration", CheckState::Succeeded);
    /// found.uri("https://ci.example/runs/42").summary("48 tests passed").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn report_check(
        &self,
        name: impl Into<String>,
        id: impl Into<String>,
        state: pb::CheckState,
    ) -> Call<pb::ReportCheckRequest> {
        let check = Some(pb::Check { state: state.into(), ..Default::default() });
        self.call(pb::ReportCheckRequest { name: complete(name), check_id: id.into(), check, ..Default::default() })
    }

    /// Withdraws a version: whoever names it by its number or id still gets it, but it is never `@latest`, and is neither promoted nor given an
    /// alias. Say [why](Call::reason).
    ///
    /// [`is_failed_precondition`](crate::Error::is_failed_precondition) if it is in production or staging or carries an alias, unless
    /// [forced](Call::force).
    pub fn withdraw_version(&self, name: impl Into<String>) -> Call<pb::WithdrawVersionRequest> {
        self.call(pb::WithdrawVersionRequest { name: complete(name), ..Default::default() })
    }

    /// Takes a withdrawal back.
    pub fn reinstate_version(&self, name: impl Into<String>) -> Call<pb::ReinstateVersionRequest> {
        self.call(pb::ReinstateVersionRequest { name: complete(name), ..Default::default() })
    }

    /// Compares the metrics of 2 to 100 versions with each other; the first is the baseline.
    pub fn compare_versions(
        &self,
        names: impl IntoIterator<Item = impl Into<String>>,
    ) -> Call<pb::CompareVersionsRequest> {
        self.call(pb::CompareVersionsRequest { names: complete_all(names), ..Default::default() })
    }

    /// Deletes old versions of a model and keeps so many of the newest, but never one that is in use or, unless
    /// [that is asked for](Call::pending_older_than), PENDING. Repeat it while the
    /// answer says `more`. With [`validate_only`](Call::validate_only) it answers what would go.
    pub fn prune_versions(&self, model: impl Into<String>, keep: u32) -> Call<pb::PruneVersionsRequest> {
        let keep = keep.try_into().unwrap_or(i32::MAX);
        self.call(pb::PruneVersionsRequest { parent: complete(model), keep, ..Default::default() })
    }
}

/// What is known of a version that is about to be made, for everything that makes one by a request, its
/// `creation`.
macro_rules! version_setters {
    ($type:ty) => {
        impl $type {
            fn draft(&mut self) -> &mut crate::pb::Version {
                self.creation().version.get_or_insert_default()
            }

            /// Everything that is known of the version at once, in place of what was set before.
            pub fn version(mut self, version: crate::pb::Version) -> Self {
                let creation = self.creation();
                creation.version_id.clone_from(&version.version_id);
                creation.version = Some(version);
                self
            }

            /// Another name for the version, unique in its model, for example `1.4.0`.
            pub fn version_id(mut self, id: impl Into<String>) -> Self {
                self.creation().version_id = id.into();
                self
            }

            /// What the version is, for people.
            pub fn description(mut self, text: impl Into<String>) -> Self {
                self.draft().description = text.into();
                self
            }

            /// What it was made with, for example [`XGBOOST`](crate::known::framework::XGBOOST), and which release of that.
            pub fn framework(mut self, framework: impl Into<String>, version: impl Into<String>) -> Self {
                self.draft().framework = framework.into();
                self.draft().framework_version = version.into();
                self
            }

            /// Adds a metric on a split: `("validation", "rmse", 0.31)`.
            pub fn metric(mut self, split: impl Into<String>, name: impl Into<String>, value: f64) -> Self {
                self.draft().metrics.entry(split.into()).or_default().values.insert(name.into(), value);
                self
            }

            /// Adds something that the training was told: `("max_depth", 6.0)`.
            pub fn hyperparameter(mut self, name: impl Into<String>, value: impl Into<prost_types::Value>) -> Self {
                let hyperparameters = self.draft().hyperparameters.get_or_insert_default();
                hyperparameters.fields.insert(name.into(), value.into());
                self
            }

            /// Adds a tag, for selecting.
            pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
                self.draft().tags.insert(key.into(), value.into());
                self
            }

            /// Adds versions that this one was derived from.
            pub fn base_versions(mut self, versions: impl IntoIterator<Item = impl Into<String>>) -> Self {
                self.draft().base_versions.extend(crate::names::complete_all(versions));
                self
            }

            /// Adds features that the model was trained on, in their order.
            pub fn features(mut self, features: impl IntoIterator<Item = crate::pb::Field>) -> Self {
                self.draft().features.extend(features);
                self
            }

            /// What to pass to the model, and what comes back.
            pub fn signature(mut self, signature: crate::pb::Signature) -> Self {
                self.draft().signature = Some(signature);
                self
            }

            /// What the features were standardised with.
            pub fn standardization_params(mut self, params: crate::pb::StandardizationParams) -> Self {
                self.draft().standardization_params = Some(params);
                self
            }

            /// Adds something that the training found, for example a coefficient.
            pub fn model_param(mut self, name: impl Into<String>, value: impl Into<prost_types::Value>) -> Self {
                self.draft().model_params.get_or_insert_default().fields.insert(name.into(), value.into());
                self
            }

            /// What the training ran on.
            pub fn environment(mut self, environment: crate::pb::Environment) -> Self {
                self.draft().environment = Some(environment);
                self
            }

            /// The time that the training data covers, as the trainer writes it.
            pub fn data_range(mut self, start: impl Into<String>, end: impl Into<String>) -> Self {
                self.draft().data_range = Some(crate::pb::DataRange { start: start.into(), end: end.into() });
                self
            }

            /// Adds data that the version was trained on.
            pub fn dataset(mut self, dataset: crate::pb::DatasetReference) -> Self {
                self.draft().datasets.push(dataset);
                self
            }

            /// When the training was.
            pub fn training_time(mut self, time: std::time::SystemTime) -> Self {
                self.draft().training_time = Some(time.into());
                self
            }

            /// Adds something that has no field of its own.
            pub fn additional_metadata(
                mut self,
                name: impl Into<String>,
                value: impl Into<prost_types::Value>,
            ) -> Self {
                self.draft().additional_metadata.get_or_insert_default().fields.insert(name.into(), value.into());
                self
            }
        }
    };
}

pub(crate) use version_setters;

version_setters!(Call<pb::CreateVersionRequest>);

impl Call<pb::CreateVersionRequest> {
    fn creation(&mut self) -> &mut pb::CreateVersionRequest {
        self.request_mut()
    }
}

setters!(CreateVersionRequest {
    /// Where the content lies, if it is not to be kept here. The version is READY at once.
    source_uri(uri: impl Into<String>) |r| r.version.get_or_insert_default().source_uri = uri.into();
    /// READY at once, with no artifacts.
    finalize(finalize: bool) |r| r.finalize = finalize;
});

setters!(ListVersionsRequest {
    /// Only those that meet this condition, in CEL: `version.stage == "PRODUCTION"`. A page may be short or empty and not be the last; `stream()` goes on.
    filter(filter: impl Into<String>) |r| r.filter = filter.into();
    /// `number` (the default) or any other values, each also with ` desc`: `metrics.validation.auc desc, create_time`.
    order_by(order: impl Into<String>) |r| r.order_by = order.into();
    /// Deleted versions as well.
    show_deleted(show: bool) |r| r.show_deleted = show;
    /// Count what the whole list has.
    count(count: bool) |r| r.count = count;
    /// Say how the page came about.
    explain(explain: bool) |r| r.explain = explain;
});

setters!(UpdateVersionRequest {
    /// Which fields to take, also if they are empty: `tags`, `metrics.validation`, ...; `*` takes all.
    fields(fields: impl IntoIterator<Item = impl Into<String>>) |r| r.update_mask = Some(mask(fields));
});

setters!(FinalizeVersionRequest {
    /// Give the version up, and say why.
    failed(reason: impl Into<String>) |r| {
        r.state = pb::VersionState::Failed.into();
        r.failure_reason = reason.into();
    };
    /// Only if this is still the version's etag.
    etag(etag: impl Into<String>) |r| r.etag = etag.into();
});

setters!(DeleteVersionRequest {
    /// Only if this is still the version's etag.
    etag(etag: impl Into<String>) |r| r.etag = etag.into();
    /// Even if it is in production or carries an alias.
    force(force: bool) |r| r.force = force;
});

setters!(UndeleteVersionRequest {
    /// Only if this is still the version's etag.
    etag(etag: impl Into<String>) |r| r.etag = etag.into();
});

setters!(ReportCheckRequest {
    /// What it found, for people.
    summary(text: impl Into<String>) |r| r.check.get_or_insert_default().summary = text.into();
    /// Where it can be read about.
    uri(uri: impl Into<String>) |r| r.check.get_or_insert_default().uri = uri.into();
    /// It does not count any more from then on.
    expires(time: impl Into<prost_types::Timestamp>) |r| r.check.get_or_insert_default().expire_time = Some(time.into());
    /// Only if this is still the version's etag.
    etag(etag: impl Into<String>) |r| r.etag = etag.into();
    /// Why, for the audit trail.
    comment(comment: impl Into<String>) |r| r.comment = comment.into();
});

setters!(WithdrawVersionRequest {
    /// Why, for those who use the version, and for the audit trail.
    reason(reason: impl Into<String>) |r| r.reason = reason.into();
    /// Only if this is still the version's etag.
    etag(etag: impl Into<String>) |r| r.etag = etag.into();
    /// Even if it is in production or staging or carries an alias: it loses them.
    force(force: bool) |r| r.force = force;
});

setters!(ReinstateVersionRequest {
    /// Only if this is still the version's etag.
    etag(etag: impl Into<String>) |r| r.etag = etag.into();
});

setters!(PruneVersionsRequest {
    /// Only versions that meet this condition, in CEL: `version.tags["kind"] == "nightly"`. As many of the newest of them stay.
    filter(filter: impl Into<String>) |r| r.filter = filter.into();
    /// Also PENDING versions that have not changed for this long, their artifacts included: whoever filled them is gone.
    pending_older_than(age: Duration) |r| r.pending_older_than = Some(wire(age));
});

setters!(PurgeVersionRequest {
    /// Only if this is still the version's etag.
    etag(etag: impl Into<String>) |r| r.etag = etag.into();
});
