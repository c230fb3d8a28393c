//! Linear and softmax regression on a few numbers, in f64, with the same result on every machine.

/// Of the squares of the weights, so that numbers that are always equal or always 0 do no harm.
const RIDGE: f64 = 1e-3;

/// The index of the largest value, the first of equal ones.
pub(super) fn largest(values: &[f64]) -> u32 {
    let best = (0..values.len()).reduce(|best, i| if values[i] > values[best] { i } else { best });
    best.unwrap_or(0) as u32
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Xᵀ·X
fn products(x: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let n = x.first().map_or(0, Vec::len);
    let mut sums = vec![vec![0.0; n]; n];
    for row in x {
        for i in 0..n {
            for j in 0..n {
                sums[i][j] += row[i] * row[j];
            }
        }
    }
    sums
}

/// The Cholesky factor of a symmetric matrix plus [`RIDGE`] times the identity matrix.
struct Factor(Vec<Vec<f64>>);

impl Factor {
    fn new(mut a: Vec<Vec<f64>>) -> Self {
        for i in 0..a.len() {
            for j in 0..=i {
                let ridge = if i == j { RIDGE } else { 0.0 };
                let rest = a[i][j] + ridge - dot(&a[i][..j], &a[j][..j]);
                a[i][j] = if i == j { rest.sqrt() } else { rest / a[j][j] };
            }
        }
        Factor(a)
    }

    /// The solution of the system with this right-hand side.
    fn solve(&self, b: &[f64]) -> Vec<f64> {
        let (l, n) = (&self.0, b.len());
        let mut x = b.to_vec();
        for i in 0..n {
            x[i] = (x[i] - dot(&l[i][..i], &x[..i])) / l[i][i];
        }
        for i in (0..n).rev() {
            let rest: f64 = (i + 1..n).map(|j| l[j][i] * x[j]).sum();
            x[i] = (x[i] - rest) / l[i][i];
        }
        x
    }
}

/// Linear regression.
pub(super) struct LeastSquares(Vec<f64>);

impl LeastSquares {
    /// Fits rows of numbers to values; `None` without rows.
    pub fn new(x: &[Vec<f64>], y: &[f64]) -> Option<Self> {
        let n = x.first()?.len();
        let right: Vec<f64> = (0..n).map(|i| x.iter().zip(y).map(|(row, y)| row[i] * y).sum()).collect();
        Some(LeastSquares(Factor::new(products(x)).solve(&right)))
    }

    pub fn value(&self, x: &[f64]) -> f64 {
        dot(&self.0, x)
    }
}

/// Softmax regression, by steps of Newton's method with a bound of the second derivatives (Böhning 1992), which never
/// overshoot.
pub(super) struct Softmax {
    /// By class.
    weights: Vec<Vec<f64>>,
}

const STEPS: usize = 200;

impl Softmax {
    /// Fits rows of numbers to classes; `None` without rows.
    pub fn new(x: &[Vec<f64>], classes: &[usize], count: usize) -> Option<Self> {
        let n = x.first()?.len();
        let mut bound = products(x);
        bound.iter_mut().flatten().for_each(|v| *v *= 0.5);
        let factor = Factor::new(bound);
        let mut model = Softmax { weights: vec![vec![0.0; n]; count] };
        for _ in 0..STEPS {
            let mut gradients = vec![vec![0.0; n]; count];
            for (row, class) in x.iter().zip(classes) {
                for (k, (gradient, p)) in gradients.iter_mut().zip(model.probabilities(row)).enumerate() {
                    let error = p - if k == *class { 1.0 } else { 0.0 };
                    gradient.iter_mut().zip(row).for_each(|(g, x)| *g += error * x);
                }
            }
            for (weights, mut gradient) in model.weights.iter_mut().zip(gradients) {
                gradient.iter_mut().zip(&*weights).for_each(|(g, w)| *g += RIDGE * w);
                weights.iter_mut().zip(factor.solve(&gradient)).for_each(|(w, step)| *w -= step);
            }
        }
        Some(model)
    }

    fn logits(&self, x: &[f64]) -> Vec<f64> {
        self.weights.iter().map(|weights| dot(weights, x)).collect()
    }

    fn probabilities(&self, x: &[f64]) -> Vec<f64> {
        let logits = self.logits(x);
        let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let powers: Vec<f64> = logits.iter().map(|logit| (logit - most).exp()).collect();
        let sum: f64 = powers.iter().sum();
        powers.into_iter().map(|power| power / sum).collect()
    }

    pub fn class(&self, x: &[f64]) -> u32 {
        largest(&self.logits(x))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(values: impl Iterator<Item = f64>) -> Vec<Vec<f64>> {
        values.map(|v| vec![1.0, v]).collect()
    }

    #[test]
    fn a_line_is_found() {
        let x = points((0..100).map(|i| f64::from(i) / 10.0));
        let y: Vec<f64> = x.iter().map(|row| 3.0 - 2.0 * row[1]).collect();
        let line = LeastSquares::new(&x, &y).expect("rows");
        assert!((line.value(&[1.0, 20.0]) - -37.0).abs() < 1e-2);
        assert!(LeastSquares::new(&[], &[]).is_none());
        // Numbers that are always equal have no unique weights.
        let line = LeastSquares::new(&[vec![1.0, 1.0], vec![1.0, 1.0]], &[2.0, 4.0]).expect("rows");
        assert!((line.value(&[1.0, 1.0]) - 3.0).abs() < 1e-2);
    }

    #[test]
    fn a_threshold_is_found() {
        let x = points((0..100).map(|i| f64::from(i) / 100.0));
        let classes: Vec<usize> = (0..100).map(|i| usize::from(i >= 30)).collect();
        let model = Softmax::new(&x, &classes, 2).expect("rows");
        let of = |v: f64| model.class(&[1.0, v]);
        assert_eq!([0.0, 0.2, 0.4, 1.0].map(of), [0, 0, 1, 1]);
        assert!(Softmax::new(&[], &[], 2).is_none());
    }
}
