// A picture's score from its anomaly map: ssim_ae/picture_score.py. The graph gives it as well; this is
// for pictures that are inspected in blocks.

/** `residual`: the settings of the detector's record; one of before format 10 has the maximum alone. */
export function pictureScore(map, residual) {
  let [highest, sum] = [-Infinity, 0];
  for (const value of map) {
    if (value > highest) highest = value;
    sum += value;
  }
  const share = residual?.mean_beyond ?? null;
  if (share === null) return highest;
  const weights = residual.terms.map((term) => term.weight);
  const unit = residual.combine === "max" ? Math.max(...weights) : weights.reduce((a, b) => a + b);
  return Math.fround(highest + Math.max(0, sum / map.length - share * unit));
}
