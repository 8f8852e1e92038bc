//! Ridge regression on standardised features, with the same outcome as scikit-learn's `StandardScaler` and `Ridge`.

use std::path::Path;

/// Rows with what is to be told of each.
#[derive(Debug)]
pub(crate) struct Table {
    /// The names of the features.
    pub(crate) features: Vec<String>,
    pub(crate) rows: Vec<Vec<f64>>,
    pub(crate) targets: Vec<f64>,
}

impl Table {
    /// Reads a CSV file with a header, whose last column is the target.
    pub(crate) fn read(file: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let mut lines = text.lines();
        let mut features: Vec<_> = lines.next().unwrap_or_default().split(',').map(str::to_owned).collect();
        features.pop();
        let (mut rows, mut targets) = (Vec::new(), Vec::new());
        for line in lines {
            let mut row = line.split(',').map(str::parse).collect::<Result<Vec<f64>, _>>()?;
            targets.extend(row.pop());
            if row.len() != features.len() {
                return Err(format!("{}: not {} values in {line:?}", file.display(), features.len()).into());
            }
            rows.push(row);
        }
        if rows.is_empty() {
            Err(format!("{}: no rows", file.display()).into())
        } else {
            Ok(Self { features, rows, targets })
        }
    }
}

/// What was learned: `intercept + Σ coefficients[j] · (x[j] - mean[j]) / scale[j]`.
#[derive(Debug)]
pub(crate) struct Ridge {
    pub(crate) mean: Vec<f64>,
    pub(crate) scale: Vec<f64>,
    pub(crate) coefficients: Vec<f64>,
    pub(crate) intercept: f64,
}

impl Ridge {
    /// Fits a table; `alpha`, above zero, holds the coefficients down.
    pub(crate) fn fit(table: &Table, alpha: f64) -> Self {
        let count = table.rows.len() as f64;
        let columns = || (0..table.features.len()).map(|j| table.rows.iter().map(move |row| row[j]));
        let mean: Vec<f64> = columns().map(|column| column.sum::<f64>() / count).collect();
        let deviation = |(column, mean): (_, &f64)| {
            (Iterator::map(column, |x: f64| (x - mean).powi(2)).sum::<f64>() / count).sqrt()
        };
        let scale: Vec<f64> =
            columns().zip(&mean).map(deviation).map(|scale| if scale > 0.0 { scale } else { 1.0 }).collect();
        let rows: Vec<_> = table.rows.iter().map(|row| standardised(row, &mean, &scale)).collect();
        let intercept = table.targets.iter().sum::<f64>() / count;
        // (XᵀX + αI) w = Xᵀ(y - intercept): the columns of X have no mean any more.
        let size = mean.len();
        let mut system = vec![vec![0.0; size + 1]; size];
        for (row, target) in rows.iter().zip(&table.targets) {
            for (i, line) in system.iter_mut().enumerate() {
                row.iter().enumerate().for_each(|(j, x)| line[j] += row[i] * x);
                line[size] += row[i] * (target - intercept);
            }
        }
        system.iter_mut().enumerate().for_each(|(i, line)| line[i] += alpha);
        Self { mean, scale, coefficients: solve(system), intercept }
    }

    pub(crate) fn predict(&self, row: &[f64]) -> f64 {
        let row = standardised(row, &self.mean, &self.scale);
        self.intercept + row.iter().zip(&self.coefficients).map(|(x, weight)| x * weight).sum::<f64>()
    }

    /// How far off the predictions for a table are, by the names of metrics.
    pub(crate) fn metrics(&self, table: &Table) -> [(&'static str, f64); 3] {
        let count = table.targets.len() as f64;
        let errors: Vec<f64> = table.rows.iter().zip(&table.targets).map(|(row, y)| y - self.predict(row)).collect();
        let squares = errors.iter().map(|error| error.powi(2)).sum::<f64>();
        let mean = table.targets.iter().sum::<f64>() / count;
        let spread = table.targets.iter().map(|y| (y - mean).powi(2)).sum::<f64>();
        let mae = errors.iter().map(|error| error.abs()).sum::<f64>() / count;
        [("rmse", (squares / count).sqrt()), ("mae", mae), ("r_squared", 1.0 - squares / spread)]
    }
}

fn standardised(row: &[f64], mean: &[f64], scale: &[f64]) -> Vec<f64> {
    row.iter().zip(mean).zip(scale).map(|((x, mean), scale)| (x - mean) / scale).collect()
}

/// Solves a symmetric, positive definite system, each line with its right side behind it. Such systems need no pivots.
fn solve(mut system: Vec<Vec<f64>>) -> Vec<f64> {
    for pivot in 0..system.len() {
        let (above, below) = system.split_at_mut(pivot + 1);
        let line = &above[pivot];
        for other in below {
            let factor = other[pivot] / line[pivot];
            other.iter_mut().zip(line).skip(pivot).for_each(|(x, y)| *x -= factor * y);
        }
    }
    let mut solution = vec![0.0; system.len()];
    for (i, line) in system.iter().enumerate().rev() {
        let known: f64 = (i + 1..system.len()).map(|j| line[j] * solution[j]).sum();
        solution[i] = (line[system.len()] - known) / line[i];
    }
    solution
}
