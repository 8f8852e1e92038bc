//! Metrics: which of two values is the better one, and how several compare.

use Direction::{Higher, Lower};

/// Which of two values of a metric is the better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The higher one.
    Higher,
    /// The lower one.
    Lower,
}

/// The longest name that is looked up.
const MAX_BYTES: usize = 128;

/// Words before a metric that say on which data, or averaged how.
const PREFIXES: [&str; 13] = [
    "train",
    "training",
    "val",
    "valid",
    "validation",
    "test",
    "eval",
    "evaluation",
    "dev",
    "holdout",
    "macro",
    "micro",
    "weighted",
];

/// Words behind a metric that say how it was averaged, over which part of the data, or in which unit.
const SUFFIXES: [&str; 16] = [
    "score", "macro", "micro", "weighted", "samples", "binary", "ovr", "ovo", "mean", "avg", "p50", "p90", "p95",
    "p99", "ms", "seconds",
];

/// What the registry knows of a metric by its name alone; a model may override it. None: not known.
///
/// A name is compared word by word, whatever its case and separators: `Val-F1 Macro` is `f1` is `test/f1@5`. What is in
/// doubt is left out: a value at risk, for example, is written with either sign.
pub(crate) fn known_direction(metric: &str) -> Option<Direction> {
    // Nothing that long is known, and finding out would take a time that grows with its square.
    if metric.len() > MAX_BYTES {
        return None;
    }
    let name = metric.to_lowercase();
    // Without a cut-off, as in `ndcg@10`.
    let name = name.split('@').next().unwrap_or_default();
    let words: Vec<&str> = name.split(['_', '-', ' ', '/', '.']).filter(|word| !word.is_empty()).collect();
    direction_of(&words)
}

/// Looks the words up without those that don't matter, taking away one after the other.
fn direction_of(words: &[&str]) -> Option<Direction> {
    match words {
        // scikit-learn turns losses around, so that more is better. Before anything else, as the rest looks like a loss;
        // and losses only, as `neg_precision` is more likely to be that of the negative class.
        ["neg", rest @ ..] => return direction_of(rest).filter(|it| *it == Lower).map(|_| Higher),
        [first, rest @ ..] if PREFIXES.contains(first) => return direction_of(rest),
        _ => {}
    }
    look_up(&words.join("_")).or_else(|| match words {
        [rest @ .., "at", cutoff] if *cutoff == "k" || is_number(cutoff) => direction_of(rest),
        [rest @ .., last] if SUFFIXES.contains(last) || is_number(last) => direction_of(rest),
        _ => None,
    })
}

fn is_number(word: &str) -> bool {
    word.bytes().all(|b| b.is_ascii_digit())
}

fn look_up(name: &str) -> Option<Direction> {
    let ends_with = |end: &&str| name.strip_suffix(*end).is_some_and(|rest| rest.is_empty() || rest.ends_with('_'));
    if HIGHER.contains(&name) {
        Some(Higher)
    } else if LOWER.contains(&name) || LOWER_ENDINGS.iter().any(ends_with) {
        Some(Lower)
    } else if HIGHER_ENDINGS.iter().any(ends_with) || name.starts_with("rouge") {
        Some(Higher)
    } else {
        None
    }
}

/// Whatever ends with these words is better lower.
const LOWER_ENDINGS: [&str; 13] = [
    "loss",
    "logloss",
    "crossentropy",
    "cross_entropy",
    "perplexity",
    "latency",
    "error_rate",
    "squared_error",
    "absolute_error",
    "percentage_error",
    "log_error",
    "inference_time",
    "response_time",
];

/// Whatever ends with these words is better higher.
const HIGHER_ENDINGS: [&str; 3] = ["accuracy", "reward", "return"];

#[rustfmt::skip]
const LOWER: &[&str] = &[
    // Errors of regressions and forecasts.
    "error", "max_error", "mse", "rmse", "mae", "mape", "smape", "wape", "mase", "msle", "rmsle", "medae", "nrmse", "crps",
    // Of classifiers and their probabilities.
    "brier", "hinge", "hamming", "mlogloss", "nll", "negative_log_likelihood", "deviance", "ece", "mce",
    "expected_calibration_error", "calibration_error", "merror", "classification_error", "fpr", "fnr", "fdr", "eer",
    "false_positive_rate", "false_negative_rate", "false_discovery_rate", "misclassification_rate",
    // Of speech and text.
    "wer", "cer", "ter", "mer", "ppl", "bits_per_byte", "bits_per_character", "edit_distance", "levenshtein",
    // Of images.
    "fid", "kid", "lpips", "reconstruction_error", "hausdorff_distance",
    // Of distributions and clusters.
    "kl", "kl_divergence", "js_divergence", "wasserstein", "wasserstein_distance", "davies_bouldin", "inertia", "aic", "bic",
    // Of trading.
    "max_drawdown", "maximum_drawdown", "volatility", "tracking_error", "ulcer_index",
];

#[rustfmt::skip]
const HIGHER: &[&str] = &[
    // Classifiers.
    "acc", "precision", "recall", "sensitivity", "specificity", "tpr", "tnr", "ppv", "npv", "true_positive_rate",
    "true_negative_rate", "positive_predictive_value", "negative_predictive_value", "f1", "f2", "f0_5", "fbeta", "f_beta",
    "f_measure", "f_score", "auc", "roc_auc", "auc_roc", "auroc", "pr_auc", "auc_pr", "auprc", "aucpr", "average_precision",
    "mcc", "matthews_corrcoef", "matthews_correlation", "kappa", "cohen_kappa", "cohens_kappa", "g_mean", "gini", "youden",
    "log_likelihood",
    // Regressions.
    "r2", "r_squared", "r_2", "adjusted_r2", "explained_variance", "pearson", "pearsonr", "spearman", "spearmanr", "kendall",
    "kendall_tau", "correlation", "d2", "ic", "rank_ic",
    // Ranking and retrieval.
    "ndcg", "dcg", "map", "mrr", "mean_average_precision", "mean_reciprocal_rank", "reciprocal_rank", "hit", "hits",
    "hit_rate", "hit_ratio", "lift",
    // Text.
    "bleu", "sacrebleu", "meteor", "chrf", "bertscore", "exact_match", "em", "cosine_similarity",
    // Images.
    "iou", "miou", "mean_iou", "jaccard", "dice", "dice_coefficient", "ssim", "psnr", "inception_score",
    // Clusters.
    "silhouette", "calinski_harabasz", "adjusted_rand", "adjusted_rand_index", "ari", "nmi", "ami", "v_measure",
    "homogeneity", "completeness", "normalized_mutual_info", "adjusted_mutual_info", "fowlkes_mallows",
    // Agents and trading.
    "win_rate", "success_rate", "pass", "pass_rate", "profit_factor", "sharpe", "sharpe_ratio", "sortino", "sortino_ratio", "calmar",
    "calmar_ratio", "omega_ratio", "information_ratio", "profit", "profit_and_loss", "pnl", "returns", "total_returns", "cagr",
    // Machines.
    "throughput", "tokens_per_second", "samples_per_second", "requests_per_second", "qps",
];

/// One metric across several versions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Comparison {
    /// As given.
    pub(crate) values: Vec<Option<f64>>,
    /// Each value less the first one; None if one of them is missing.
    pub(crate) deltas: Vec<Option<f64>>,
    /// The positions of the best value, ascending.
    pub(crate) best: Vec<usize>,
}

/// Compares values with the first of them and with each other.
///
/// A winner needs a direction and a rival: there is none with fewer than two values. NaN is a value with deltas, but no
/// rival: nothing is better or worse than it.
pub(crate) fn compare(values: &[Option<f64>], direction: Option<Direction>) -> Comparison {
    let baseline = values.first().copied().flatten();
    let deltas = values.iter().map(|value| Some((*value)? - baseline?)).collect();
    Comparison { values: values.to_vec(), deltas, best: direction.map(|it| best(values, it)).unwrap_or_default() }
}

fn best(values: &[Option<f64>], direction: Direction) -> Vec<usize> {
    let rivals = || values.iter().enumerate().filter_map(|(at, value)| Some((at, value.filter(|it| !it.is_nan())?)));
    if rivals().nth(1).is_none() {
        return Vec::new();
    }
    let pick = match direction {
        Higher => f64::max,
        Lower => f64::min,
    };
    let winner = rivals().map(|(_, value)| value).reduce(pick);
    rivals().filter(|(_, value)| Some(*value) == winner).map(|(at, _)| at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_directions() {
        let higher = "accuracy balanced_accuracy Precision recall f1 f1_score F1-Score fbeta auc roc_auc pr_auc \
            average_precision mcc kappa r2 R2_Score r_squared explained_variance sharpe_ratio sortino calmar win_rate \
            profit_factor direction_accuracy ndcg@5 ndcg_at_10 recall@k precision_at_k map mAP@0.5:0.95 mrr hit_rate bleu \
            bleu_4 rouge1 rougeL rouge_2_f1 iou dice mean_reward val_accuracy test/acc top_5_accuracy f1_macro macro_f1 \
            f1_weighted roc_auc_ovr_weighted neg_mean_squared_error neg_log_loss neg_brier_score hits_at_10 \
            negative_predictive_value val_neg_mean_squared_error pass@1 profit_and_loss episode_return train_mean_iou f0.5";
        let lower = "loss val_loss triplet_loss rmse RMSE validation.rmse mse mae mape smape medae rmsle log_loss \
            cross_entropy categorical_crossentropy perplexity max_drawdown volatility brier brier_score hinge fpr fnr \
            error_rate word_error_rate wer cer latency latency_ms latency_p99_ms p95_latency inference_latency fid ece \
            kl_divergence mean_absolute_percentage_error test_error multi_logloss accuracy_loss";
        let unknown = "_ @5 7 val test score train_score glossary lossless closs mapping maps prime_time accuracy_drop \
            fitness f forest aucs var value_at_risk neg_val neg_fitness neg_precision mean_error recall_threshold p99 cutoff_at_10 learning_rate";
        for (names, direction) in [(higher, Some(Higher)), (lower, Some(Lower)), (unknown, None)] {
            for name in names.split_whitespace() {
                assert_eq!(known_direction(name), direction, "{name}");
            }
        }
        assert_eq!(known_direction(""), None);
        assert_eq!(known_direction(&"1_".repeat(1 << 20)), None);
        assert_eq!(known_direction("Validation F1 Score"), Some(Higher));
    }

    #[test]
    fn no_metric_is_known_twice() {
        for name in HIGHER {
            assert!(!LOWER.contains(name), "{name}");
        }
    }

    #[test]
    fn comparisons() {
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        for (values, direction, best) in [
            (&[][..], Some(Higher), &[][..]),
            (&[Some(1.0)], Some(Higher), &[]),
            (&[Some(1.0), None], Some(Higher), &[]),
            (&[Some(1.0), Some(nan)], Some(Higher), &[]),
            (&[Some(1.0), Some(2.0)], None, &[]),
            (&[Some(1.0), Some(2.0)], Some(Higher), &[1]),
            (&[Some(1.0), Some(2.0)], Some(Lower), &[0]),
            (&[None, Some(1.0), Some(nan), Some(1.0), Some(3.0)], Some(Lower), &[1, 3]),
            (&[Some(inf), Some(-inf)], Some(Lower), &[1]),
            (&[Some(0.0), Some(-0.0)], Some(Higher), &[0, 1]),
        ] {
            assert_eq!(compare(values, direction).best, best, "{values:?} {direction:?}");
        }
        assert_eq!(compare(&[Some(2.0), None, Some(1.5)], None).deltas, [Some(0.0), None, Some(-0.5)]);
        assert_eq!(compare(&[None, Some(1.5)], None).deltas, [None, None]);
        assert!(compare(&[Some(2.0), Some(nan)], None).deltas[1].is_some_and(f64::is_nan));
    }

    fn value() -> impl Strategy<Value = Option<f64>> {
        prop_oneof![
            Just(None),
            Just(Some(f64::NAN)),
            (-2..3_i8).prop_map(|few| Some(f64::from(few))),
            proptest::num::f64::ANY.prop_map(Some),
        ]
    }

    fn direction() -> impl Strategy<Value = Direction> {
        prop_oneof![Just(Higher), Just(Lower)]
    }

    proptest! {
        #[test]
        fn the_best_is_never_beaten(values in proptest::collection::vec(value(), 0..8), direction in direction()) {
            let best = compare(&values, Some(direction)).best;
            let rivals = values.iter().flatten().filter(|value| !value.is_nan());
            prop_assert_eq!(best.is_empty(), rivals.clone().count() < 2);
            for winner in best.iter().map(|at| values[*at].expect("a value")) {
                prop_assert!(!winner.is_nan());
                let beats = |rival: f64| match direction { Higher => rival > winner, Lower => rival < winner };
                prop_assert!(!rivals.clone().any(|rival| beats(*rival)));
            }
        }

        #[test]
        fn the_order_does_not_matter(
            (values, shuffled) in proptest::collection::vec(value(), 0..8).prop_flat_map(|values| {
                let places: Vec<usize> = (0..values.len()).collect();
                (Just(values), Just(places).prop_shuffle())
            }),
            direction in direction(),
        ) {
            let moved: Vec<_> = shuffled.iter().map(|at| values[*at]).collect();
            let mut best: Vec<_> = compare(&moved, Some(direction)).best.iter().map(|at| shuffled[*at]).collect();
            best.sort_unstable();
            prop_assert_eq!(best, compare(&values, Some(direction)).best);
        }
    }
}
