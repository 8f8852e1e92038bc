//! What the names and texts of a filled registry are made of.

/// Frameworks, a version of each, and how many of a hundred versions are made with them.
pub(super) const FRAMEWORKS: [(&str, &str, u32); 8] = [
    ("xgboost", "3.1.0", 30),
    ("sklearn", "1.7.2", 25),
    ("pytorch", "2.9.0", 20),
    ("lightgbm", "4.6.0", 10),
    ("tensorflow", "2.20.0", 6),
    ("onnx", "1.19.0", 5),
    ("huggingface", "4.57.0", 3),
    ("catboost", "1.2.8", 1),
];

/// What a model does, and its type.
pub(super) const TASKS: [(&str, &str); 10] = [
    ("fraud detection", "classification"),
    ("churn", "classification"),
    ("lead scoring", "classification"),
    ("price", "regression"),
    ("lifetime value", "regression"),
    ("demand", "forecasting"),
    ("outliers", "anomaly_detection"),
    ("next best offer", "ranking"),
    ("similar items", "embedding"),
    ("damage by photo", "vision"),
];

/// The parts of the business that models serve.
pub(super) const DOMAINS: [&str; 12] = [
    "payments",
    "cards",
    "loans",
    "claims",
    "logistics",
    "pricing",
    "search",
    "ads",
    "support",
    "returns",
    "stock",
    "travel",
];

/// The teams that own models.
pub(super) const TEAMS: [&str; 12] = [
    "risk", "growth", "core", "search", "pricing", "supply", "trust", "insight", "platform", "vision", "language",
    "research",
];

/// Where versions are used.
pub(super) const REGIONS: [&str; 6] = ["eu", "us-east", "us-west", "latam", "apac", "mea"];

/// What descriptions are made of.
pub(super) const WORDS: [&str; 64] = [
    "trained",
    "on",
    "the",
    "data",
    "of",
    "last",
    "week",
    "with",
    "better",
    "recall",
    "for",
    "small",
    "merchants",
    "and",
    "new",
    "features",
    "from",
    "transactions",
    "after",
    "cleaning",
    "labels",
    "without",
    "leakage",
    "baseline",
    "candidate",
    "shadow",
    "traffic",
    "calibrated",
    "probabilities",
    "balanced",
    "classes",
    "boosted",
    "trees",
    "deep",
    "network",
    "embedding",
    "of",
    "customers",
    "seasonal",
    "holidays",
    "weather",
    "retrained",
    "nightly",
    "schedule",
    "drift",
    "corrected",
    "threshold",
    "tuned",
    "grid",
    "search",
    "early",
    "stopping",
    "quantized",
    "faster",
    "inference",
    "smaller",
    "memory",
    "experimental",
    "loss",
    "regularized",
    "imputed",
    "missing",
    "values",
    "approved",
];
