// Case metrics: classification and regression metrics against scikit-learn's on random and degenerate predictions.
#include "runtime/train/metrics.h"
#include "tests/golden.h"

namespace {

const golden::Tol tol{1e-9, 1e-9};  // everything here is double; the inputs are exact in fp32

struct Metrics : ig_metrics {
  Metrics() : ig_metrics{} {}
  ~Metrics() { ig_metrics_fini(this); }
  Metrics(const Metrics &) = delete;
  Metrics &operator=(const Metrics &) = delete;
};

template <class F>
std::vector<double> per_class(const ig_metrics &m, F field) {
  std::vector<double> v;
  for (int32_t c = 0; c < m.n_classes; c++)
    v.push_back((double)field(m.per_class[c]));
  return v;
}

// Compares every key of `expect`; one that has no counterpart is a failure, not a gap.
void compare_all(const std::string &name, const ig_metrics &m, json_t *expect, golden::Report &r) {
  const char *key;
  json_t *v;
  auto list = [&](const std::string &what, const std::vector<double> &found) {
    r.compare(what, found, golden::numbers(v), tol);
  };
  auto average = [&](const std::string &what, const ig_prf &x) {
    r.compare(what, std::vector<double>{x.precision, x.recall, x.f1},
              std::vector<double>{golden::number(v, "precision"), golden::number(v, "recall"), golden::number(v, "f1")},
              tol);
  };
  json_object_foreach(expect, key, v) {
    const std::string k = key, what = name + "." + k;
    if (k == "accuracy")
      r.compare(what, m.accuracy, golden::number(v), tol);
    else if (k == "balanced_accuracy")
      r.compare(what, m.balanced_accuracy, golden::number(v), tol);
    else if (k == "confusion")
      list(what, std::vector<double>(m.confusion, m.confusion + (size_t)m.n_classes * (size_t)m.n_classes));
    else if (k == "precision")
      list(what, per_class(m, [](const ig_class_metrics &c) { return c.prf.precision; }));
    else if (k == "recall")
      list(what, per_class(m, [](const ig_class_metrics &c) { return c.prf.recall; }));
    else if (k == "f1")
      list(what, per_class(m, [](const ig_class_metrics &c) { return c.prf.f1; }));
    else if (k == "support")
      list(what, per_class(m, [](const ig_class_metrics &c) { return c.support; }));
    else if (k == "macro")
      average(what, m.macro);
    else if (k == "micro")
      average(what, m.micro);
    else if (k == "weighted")
      average(what, m.weighted);
    else if (k == "matthews")
      r.compare(what, m.matthews, golden::number(v), tol);
    else if (k == "cohen_kappa")
      r.compare(what, m.kappa, golden::number(v), tol);
    else if (k == "top5")
      r.compare(what, m.top5, golden::number(v), tol);
    else if (k == "roc_auc_ovr_macro" && json_is_null(v))
      continue;  // scikit-learn has none of two classes
    else if (k == "roc_auc" || k == "roc_auc_ovr_macro")
      r.compare(what, m.roc_auc, golden::number(v), tol);
    else if (k == "roc_auc_ovr")
      list(what, per_class(m, [](const ig_class_metrics &c) { return c.roc_auc; }));
    else if (k == "average_precision" && json_is_array(v))
      list(what, per_class(m, [](const ig_class_metrics &c) { return c.average_precision; }));
    else if (k == "average_precision")
      r.compare(what, m.average_precision, golden::number(v), tol);
    else if (k == "log_loss")
      r.compare(what, m.log_loss, golden::number(v), tol);
    else if (k == "nll")
      r.compare(what, m.nll, golden::number(v), tol);
    else if (k == "brier")
      r.compare(what, m.brier, golden::number(v), tol);
    else if (k == "ece15" || k == "ece15_of_predicted")
      r.compare(what, m.ece, golden::number(v), tol);
    else if (k != "top5_sklearn")  // resolves ties against its own argmax (VISION.md)
      r.fail(what + ": this metric is not known");
  }
}

std::vector<float> floats(json_t *object, const char *key) {
  const std::vector<double> v = golden::numbers(object, key);
  return std::vector<float>(v.begin(), v.end());
}

std::vector<int32_t> labels_of(json_t *set) {
  const std::vector<double> v = golden::numbers(set, "labels");
  return std::vector<int32_t>(v.begin(), v.end());
}

void run(const std::string &path, golden::Report &r) {
  golden::Json root = golden::load_json(path + "/metrics.json");
  const char *name;
  json_t *set;
  json_object_foreach(golden::get(root.get(), "multiclass"), name, set) {
    const std::vector<float> logits = floats(set, "logits");
    const std::vector<int32_t> labels = labels_of(set);
    Metrics m;
    if (r.ok(name, ig_metrics_classify(logits.data(), labels.data(), nullptr, labels.size(),
                                       (int32_t)(logits.size() / labels.size()), &m)))
      compare_all(std::string("multiclass.") + name, m, golden::get(set, "expect"), r);
  }
  json_object_foreach(golden::get(root.get(), "binary"), name, set) {
    const std::vector<double> scores = golden::numbers(set, "scores");
    const std::vector<int32_t> labels = labels_of(set);
    Metrics m;
    if (r.ok(name, ig_metrics_binary(scores.data(), labels.data(), nullptr, labels.size(), &m)))
      compare_all(std::string("binary.") + name, m, golden::get(set, "expect"), r);
  }
  json_object_foreach(golden::get(root.get(), "regression"), name, set) {
    const std::vector<double> target = golden::numbers(set, "target"), predicted = golden::numbers(set, "predicted");
    json_t *e = golden::get(set, "expect");
    ig_regression m;
    if (!r.ok(name, ig_metrics_regress(target.data(), predicted.data(), nullptr, target.size(), &m)))
      continue;
    const std::string what = std::string("regression.") + name;
    r.compare(what + ".mse", m.mse, golden::number(e, "mse"), tol);
    r.compare(what + ".rmse", m.rmse, golden::number(e, "rmse"), tol);
    r.compare(what + ".mae", m.mae, golden::number(e, "mae"), tol);
    r.compare(what + ".r2", m.r2, golden::number(e, "r2"), tol);
  }
}

}  // namespace

GOLDEN_CASE("metrics", run)
