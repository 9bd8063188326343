// floor: ig_train
// The report: what it says of a run folder made here, hostile names, missing and damaged files. With IG_REPORT_KEEP=DIR
// the pages stay there, for report_browser_test.py.
#include "runtime/train/report.h"

#include <cmath>
#include <cstdlib>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/data/defects.h"
#include "runtime/train/metrics.h"
#include "tests/folder.h"

namespace {

const char *const evil = "pits<script>alert(1)</script>\"'&";
const char *const classes[] = {"cracks", "inclusions", "patches", evil, "scale", "scratches"};
const int K = 6, PER_CLASS = 40, N = K * PER_CLASS;

void write(const std::string &path, const std::string &text) {
  ASSERT_EQ(ig_file_write_atomic(path.c_str(), text.data(), text.size()), IG_OK) << ig_error_message();
}

bool has(const std::string &page, const std::string &text) { return page.find(text) != std::string::npos; }

std::string number(double x) {
  char text[40];
  snprintf(text, sizeof text, "%.6g", x);
  return text;
}

// A run of `epochs`; every ninth sample is wrong and taken for the next class, surely so.
void make_run(const std::string &folder, const std::string &data, int epochs, int wrong_every) {
  ASSERT_EQ(ig_make_dirs(folder.c_str()), IG_OK);
  write(folder + "/args.yaml", "model: resnet18\ndata: " + data + "\nepochs: " + std::to_string(epochs) +
                                   "\nlr: 0.1\nbetas: [0.9, 0.999]\nseed: 1\n");
  write(folder + "/environment.json",
        "{\"command\": [\"ingot\", \"train\", \"data=" + data +
            "\"], \"cpu\": {\"name\": \"Test <b>CPU</b>\", \"cores\": 2}, \"version\": \"0.1.0\"}");
  std::string log;
  for (int step = 1; step <= epochs * 30; step++) {
    double t = step / (epochs * 30.0), wobble = std::sin(step * 12.9898) * 43758.5;
    wobble -= std::floor(wobble);
    if (step % 5 == 0)
      log += "{\"step\": " + std::to_string(step) + ", \"epoch\": " + std::to_string(step / 30) +
             ", \"split\": \"train\", \"loss\": " + number(1.8 * std::exp(-4 * t) + 0.1 + 0.2 * wobble * (1 - t)) +
             ", \"accuracy\": " + number(0.95 - 0.75 * std::exp(-5 * t) - 0.05 * wobble) +
             ", \"lr\": " + number(0.05 * (1 + std::cos(3.14159 * t))) + ", \"grad_norm\": " + number(1 + wobble) +
             ", \"samples_per_second\": " + number(61.5 + wobble) + ", \"data_wait\": 0.021, \"mfu\": 0.43}\n";
    if (step % 30 == 0)
      log += "{\"step\": " + std::to_string(step) + ", \"epoch\": " + std::to_string(step / 30) +
             ", \"split\": \"val\", \"loss\": " + number(1.8 * std::exp(-4 * t) + 0.25) +
             ", \"accuracy\": " + number(0.9 - 0.7 * std::exp(-5 * t)) + "}\n";
  }
  write(folder + "/log.jsonl", log);

  std::vector<float> logits((size_t)N * K, 0.0f);
  std::vector<int32_t> labels(N);
  std::vector<std::string> paths(N);
  std::vector<const char *> names(N);
  for (int i = 0; i < N; i++) {
    int c = i / PER_CLASS, said = i % wrong_every == 0 ? (c + 1) % K : c;
    labels[i] = c;
    logits[(size_t)i * K + said] = 2.0f + (float)(i % 7) * 0.5f;
    logits[(size_t)i * K + (c + 2) % K] = 0.7f;
    const char *of = ig_defects_class_name(c);
    paths[i] = std::string("test/") + of + "/" + of + "_000" + std::to_string(i % 4) + ".png";
    if (i == 0)  // the worst of all
      logits[said] = 9, paths[i] = "no, such \"file\" <img src=http://example.com/x onerror=alert(2)>\xff.png";
    names[i] = paths[i].c_str();
  }
  ASSERT_EQ(ig_report_predictions_csv((folder + "/predictions.csv").c_str(), N, names.data(), labels.data(),
                                      logits.data(), K, classes, nullptr),
            IG_OK)
      << ig_error_message();
  ig_metrics m;
  json_t *result = nullptr;
  ASSERT_EQ(ig_metrics_classify(logits.data(), labels.data(), nullptr, N, K, &m), IG_OK) << ig_error_message();
  ASSERT_EQ(ig_metrics_json(&m, classes, NAN, &result), IG_OK);
  ig_metrics_fini(&m);
  json_object_set_new(result, "epochs", json_integer(epochs));
  json_object_set_new(result, "best_epoch", json_integer(epochs));
  json_object_set_new(result, "steps", json_integer(epochs * 30));
  json_object_set_new(result, "seconds", json_real(151));
  json_object_set_new(result, "memory",
                      json_pack("{s:I,s:I}", "weights", (json_int_t)44 << 20, "activations", (json_int_t)310 << 20));
  char *text = json_dumps(result, JSON_INDENT(1));
  write(folder + "/result.json", text);
  free(text);
  json_decref(result);
}

class Report : public ::testing::Test {
 protected:
  Folder f;
  std::string data, run, page;
  void SetUp() override {
    const char *keep = getenv("IG_REPORT_KEEP");
    if (keep) {
      ig_remove_tree(f.path.c_str());
      f.path = keep;
      f.keep = true;
    }
    data = f.path + "/data";
    run = f.path + "/run a";
    page = f.path + "/report.html";
    ASSERT_EQ(ig_defects_write(data.c_str(), 1, 1, 4, 96), IG_OK) << ig_error_message();
    make_run(run, data, 12, 9);
  }
  std::string make() {
    EXPECT_EQ(ig_report_write(run.c_str(), page.c_str()), IG_OK) << ig_error_message();
    return read_file(page);
  }
};

TEST_F(Report, SaysHowGoodAndWhereWrong) {
  std::string p = make();
  // 27 of 240 wrong.
  EXPECT_TRUE(has(p, "<p class=big>88.8 %</p>"));
  EXPECT_TRUE(has(p, "right on 240 validation pictures"));
  EXPECT_TRUE(has(p, "95 % interval 84.1&ndash;92.2 %")) << "Wilson of 213 of 240";
  EXPECT_TRUE(has(p, "With care."));
  EXPECT_TRUE(has(p, "27 of 240 were wrong; these are the 12"));
  EXPECT_TRUE(has(p, "<bdi>cracks</bdi> taken for <bdi>inclusions</bdi>: 5 of 40"));
  for (const char *text : {"Confusion matrix", "Each class", "Worst mistakes", "Learning rate", "Gradient norm",
                           "Do its probabilities", "Speed and memory", "2 min 31 s", "310 MiB", "Environment",
                           "ingot train --config", "<details><summary>args.yaml", "A <b>resnet18</b>", "12 epochs"})
    EXPECT_TRUE(has(p, text)) << text;
  EXPECT_FALSE(has(p, "Incomplete"));
  EXPECT_TRUE(has(p, "right more often than it claims"));
  EXPECT_TRUE(has(p, "ingot eval &#39;weights=" + run + "&#39; data")) << "a folder with a space is quoted";
}

TEST_F(Report, EscapesHostileNames) {
  std::string p = make();
  EXPECT_FALSE(has(p, "<script"));
  EXPECT_FALSE(has(p, "<img src=http"));
  EXPECT_FALSE(has(p, "<b>CPU</b>"));
  EXPECT_TRUE(has(p, "pits&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;"));
  EXPECT_TRUE(has(p, "Test &lt;b&gt;CPU&lt;/b&gt;"));
  EXPECT_TRUE(has(p, "onerror=alert(2)&gt;\\xff.png")) << "bytes that are not UTF-8 are shown";
  EXPECT_FALSE(has(p, "\xff"));
}

TEST_F(Report, EmbedsPicturesAndNamesUnreadableOnes) {
  std::string p = make();
  size_t n = 0;
  for (size_t at = 0; (at = p.find("src=\"data:image/jpeg;base64,/9j/", at)) != std::string::npos; at++)
    n++;
  size_t missing = 0;
  for (size_t at = 0; (at = p.find("<div class=none>No picture: ", at)) != std::string::npos; at++)
    missing++;
  EXPECT_EQ(n + missing, 12u);
  EXPECT_EQ(missing, 1u) << "the hostile name is no file";
  EXPECT_LT(p.size(), 400000u);
}

TEST_F(Report, AnUnreadablePictureIsNamed) {
  write(run + "/predictions.csv",
        "path,label,predicted,p,loss,p_a,p_b\n\"gone, "
        "\"\"x\"\".png\",a,b,0.9,2.3,0.1,0.9\nfine.png,a,a,0.9,0.1,0.9,0.1\n");
  std::string p = make();
  EXPECT_TRUE(has(p, "No picture: "));
  EXPECT_TRUE(has(p, "gone, &quot;x&quot;.png"));
  EXPECT_TRUE(has(p, "1 of 2 were wrong"));
  EXPECT_TRUE(has(p, "(90 % sure)"));
}

TEST_F(Report, SameFolderSameBytesAndNothingFromOutside) {
  std::string a = make();
  EXPECT_EQ(a, make());
  EXPECT_TRUE(has(a, "default-src 'none'"));
  for (const char *text : {" src=\"http", " href=\"http", "url(", "@import"})
    EXPECT_FALSE(has(a, text)) << text;
}

TEST_F(Report, MissingAndDamagedFilesAreNamed) {
  if (f.keep)
    GTEST_SKIP() << "the folder is kept for the browser";
  unlink((run + "/predictions.csv").c_str());
  unlink((run + "/environment.json").c_str());
  write(run + "/args.yaml", "model: resnet18\nbad: [1, {a: 2}]\n");
  std::string log = read_file(run + "/log.jsonl");
  write(run + "/log.jsonl", log + "{\"step\": 99, \"los");
  std::string p = make();
  EXPECT_TRUE(has(p, "Incomplete"));
  EXPECT_TRUE(has(p, "predictions.csv is missing."));
  EXPECT_TRUE(has(p, "environment.json is missing."));
  EXPECT_TRUE(has(p, "args.yaml is damaged near line 2"));
  EXPECT_TRUE(has(p, "1 damaged line left out"));
  EXPECT_TRUE(has(p, "Confusion matrix"));

  write(run + "/result.json", "{\"n\": 3,");
  p = make();
  EXPECT_TRUE(has(p, "result.json is damaged: line 1"));
  EXPECT_TRUE(has(p, "There is no final result yet."));
  EXPECT_TRUE(has(p, "<h3>Loss</h3>"));

  write(run + "/log.jsonl", "");
  EXPECT_EQ(ig_report_write(run.c_str(), page.c_str()), IG_ERR_NOT_FOUND);
  EXPECT_TRUE(has(ig_error_message(), "log.jsonl"));
  EXPECT_EQ(ig_report_write((f.path + "/nowhere").c_str(), page.c_str()), IG_ERR_NOT_FOUND);
  EXPECT_TRUE(has(ig_error_message(), "nowhere"));
}

TEST_F(Report, PredictionsThatAreCutOffAreNamed) {
  std::string csv = read_file(run + "/predictions.csv"), line = "\ntest/";
  size_t at = csv.find(line, csv.size() / 4);
  write(run + "/predictions.csv", csv.substr(0, at + 1));
  size_t rows = 0;
  for (char c : csv.substr(0, at + 1))
    rows += c == '\n';
  EXPECT_TRUE(has(make(), "predictions.csv is cut off: it has " + std::to_string(rows - 1) +
                              " samples, result.json counts 240; mistakes among the others are not shown."));
}

TEST_F(Report, WrongTypesInResultDoNotMatter) {
  if (f.keep)
    GTEST_SKIP() << "the folder is kept for the browser";
  write(run + "/result.json",
        "{\"n\": 5, \"accuracy\": 0.4, \"accuracy_interval\": \"x\", \"confusion\": [1, [\"a\"], {}], "
        "\"per_class\": {\"a\": 1}, \"calibration\": [null, 3], \"memory\": [1], \"ece\": null, \"best_epoch\": []}");
  std::string p = make();
  EXPECT_TRUE(has(p, "40.0 %"));
  EXPECT_FALSE(has(p, "nan"));
}

TEST_F(Report, EveryFailedAllocationIsReturnedAndNothingLeaks) {
  if (f.keep)
    GTEST_SKIP() << "slow, and not about the page";
  make();
  int64_t live = ig_mem_live();
  int failed = 0;
  for (int64_t n = 1; n < 4000; n = n * 3 / 2 + 1) {
    ig_mem_fail_after(n, 1);
    ig_status status = ig_report_write(run.c_str(), page.c_str());
    ig_mem_fail_after(0, 0);
    failed += status == IG_ERR_MEMORY;
    EXPECT_TRUE(status == IG_OK || status == IG_ERR_MEMORY) << n << ": " << ig_error_message();
    EXPECT_EQ(ig_mem_live(), live) << "allocation " << n;
  }
  EXPECT_GT(failed, 5);
}

// Several labels: the last one is called text; of the first picture none holds, and it was taken for one that does.
TEST_F(Report, LabelsMayBeCalledTextAndNoneMayHold) {
  write(run + "/predictions.csv",
        "path,label,predicted,p,loss,logo,text\n"
        "a.png,,logo,0.9,2.5,0.9,0.125\nb.png,text,,0.9,0.7,0.1,0.375\nc.png,text,text,0.9,0.1,0.1,0.9\n");
  write(
      run + "/result.json",
      "{\"samples\": \"pictures\", \"n\": 3, \"accuracy\": 0.3333333, \"label_accuracy\": 0.6666667, \"per_class\": ["
      "{\"name\": \"logo\", \"support\": 0, \"predicted\": 1, \"precision\": 0, \"recall\": 0, \"f1\": 0},"
      "{\"name\": \"text\", \"support\": 2, \"predicted\": 1, \"precision\": 1, \"recall\": 0.5, \"f1\": 0.6666667}]}");
  std::string p = make();
  EXPECT_TRUE(has(p, "2 of 3 were wrong; these are the 2 with the largest loss"));
  EXPECT_TRUE(has(p, "Is <b><bdi>no label</bdi></b>, said <b><bdi>logo</bdi></b> (90 % sure)"));
  EXPECT_TRUE(has(p, "Is <b><bdi>text</bdi></b>, said <b><bdi>no label</bdi></b>"));
  EXPECT_FALSE(has(p, "<blockquote>")) << "0.125 is no text";
}

TEST_F(Report, LongTextsAreCutBetweenCharacters) {
  write(run + "/predictions.csv", "path,label,predicted,p,loss,p_x,p_y,text\nt.csv:2,x,y,0.9,2.5,0.1,0.9," +
                                      std::string(1999, 'z') + "\xc3\xa9t\xc3\xa9\n");
  write(run + "/result.json", "{\"samples\": \"texts\", \"n\": 1, \"accuracy\": 0}");
  std::string p = make();
  EXPECT_TRUE(has(p, std::string(1999, 'z') + " &hellip;</bdi></blockquote>"));
  EXPECT_TRUE(has(p, "1 of 1 were wrong."));
  EXPECT_TRUE(has(p, "right on 1 validation text that")) << "one is no several";
}

TEST_F(Report, TextsAreNotCalledPictures) {
  std::string b = f.path + "/run b", out = f.path + "/compare.html";
  make_run(b, data, 12, 9);
  for (const std::string &of : {run, b})
    write(of + "/result.json", "{\"samples\": \"texts\", \"n\": 40, \"accuracy\": 0.5, \"label_accuracy\": 0.75}");
  EXPECT_TRUE(has(make(), "In 50 of 100 texts some label is wrong"));
  const char *runs[] = {run.c_str(), b.c_str()};
  ASSERT_EQ(ig_report_compare(2, runs, out.c_str()), IG_OK) << ig_error_message();
  EXPECT_TRUE(has(read_file(out), "Judge both on more texts"));
}

TEST_F(Report, OfTaggedTextsWordsAreJudged) {
  write(run + "/args.yaml", "model: bert_tiny\ntask: tag\n");
  write(run + "/result.json",
        "{\"samples\": \"texts\", \"n\": 21, \"accuracy\": 0.9523, \"confusion\": [[20, 0], [1, 0]], \"per_class\": ["
        "{\"name\": \"O\", \"support\": 20, \"predicted\": 21, \"precision\": 0.95, \"recall\": 1, \"f1\": 0.97},"
        "{\"name\": \"LOC\", \"support\": 1, \"predicted\": 0, \"precision\": 0, \"recall\": 0, \"f1\": 0}]}");
  std::string p = make();
  EXPECT_TRUE(has(p, "right on 21 validation words that it was not trained on"));
  EXPECT_TRUE(has(p, "was judged on only 1 word: its numbers are rough"));
  EXPECT_TRUE(has(p, "21 words are few"));
}

TEST_F(Report, ClassesWithoutSamplesHaveNoNumbers) {
  write(
      run + "/result.json",
      "{\"samples\": \"pictures\", \"n\": 41, \"accuracy\": 0.9756, \"confusion\": [[40, 0, 0], [0, 0, 0], [1, 0, 0]], "
      "\"per_class\": [{\"name\": \"a\", \"support\": 40, \"predicted\": 41, \"precision\": 0.9756, \"recall\": 1, "
      "\"f1\": 0.98},"
      "{\"name\": \"absent\", \"support\": 0, \"predicted\": 0, \"precision\": 0, \"recall\": 0, \"f1\": 0},"
      "{\"name\": \"rare\", \"support\": 1, \"predicted\": 0, \"precision\": 0, \"recall\": 0, \"f1\": 0}]}");
  std::string p = make(), dash = "<td class=n>&ndash;</td>";
  EXPECT_TRUE(
      has(p, "1 class has no validation pictures (first: <bdi>absent</bdi>): how well it is found is not known"));
  EXPECT_TRUE(has(p, "Class <bdi>rare</bdi> was judged on only 1 picture: its numbers are rough"));
  EXPECT_TRUE(has(p, "(0&ndash;79 %, 1 picture)"));
  EXPECT_TRUE(has(p, "<bdi>absent</bdi></th><td class=n>0</td>" + dash + dash + dash + dash));
  EXPECT_TRUE(has(p, "79.3</td>" + dash + "<td class=n>0.0</td>")) << "never said, so never right or wrong when said";
}

TEST_F(Report, NumbersWorseThanTheirMeanExplainNothing) {
  write(run + "/result.json", "{\"samples\": \"pictures\", \"n\": 10, \"rmse\": 188.8, \"r2\": -133.5}");
  std::string p = make();
  EXPECT_FALSE(has(p, "of the variance"));
  EXPECT_TRUE(has(p, "on 10 validation samples; always answering their mean would be better"));
  write(run + "/result.json", "{\"samples\": \"pictures\", \"n\": 1, \"rmse\": 2.5, \"r2\": null}");
  EXPECT_TRUE(has(make(), "on 1 validation sample.</p>"));
  write(run + "/result.json", "{\"samples\": \"pictures\", \"n\": 10, \"rmse\": 2.5, \"r2\": 0.5}");
  EXPECT_TRUE(has(make(), "on 10 validation samples; it explains 50.0 % of the variance"));
}

TEST_F(Report, ComparesRuns) {
  std::string b = f.path + "/run b", c = f.path + "/run c", out = f.path + "/compare.html";
  make_run(b, data, 20, 60);
  make_run(c, data, 12, 10);
  const char *runs[] = {run.c_str(), b.c_str(), c.c_str()};
  ASSERT_EQ(ig_report_compare(3, runs, out.c_str()), IG_OK) << ig_error_message();
  std::string p = read_file(out);
  for (const char *text :
       {"3 runs compared", "<bdi>run b</bdi> is the most accurate, and by more than chance", "Settings that differ",
        "<th scope=row>epochs</th><td>12</td><td>20</td><td>12</td>", "Validation accuracy", "98.3"})
    EXPECT_TRUE(has(p, text)) << text;
  const char *near[] = {run.c_str(), c.c_str()};
  std::string other = f.path + "/near.html";
  ASSERT_EQ(ig_report_compare(2, near, other.c_str()), IG_OK);
  EXPECT_TRUE(has(read_file(other), "but chance may have decided"));
  EXPECT_TRUE(has(read_file(other), "All settings are the same"));
  EXPECT_EQ(ig_report_compare(1, runs, out.c_str()), IG_ERR_USAGE);
}

TEST_F(Report, ComparesNumbersAndOnlyWhatWasJudgedOnTheSameSamples) {
  std::string b = f.path + "/run b", out = f.path + "/compare.html";
  make_run(b, f.path + "/other data", 12, 60);
  const char *runs[] = {run.c_str(), b.c_str()};
  ASSERT_EQ(ig_report_compare(2, runs, out.c_str()), IG_OK) << ig_error_message();
  std::string p = read_file(out);
  EXPECT_FALSE(has(p, "is the most accurate"));
  EXPECT_TRUE(has(p, "<code>data</code> of <bdi>run b</bdi> and <bdi>run a</bdi> differs"));
  EXPECT_FALSE(has(p, "RMSE")) << "neither run has one";
  for (const std::string &of : {run, b}) {
    write(of + "/result.json", "{\"samples\": \"pictures\", \"n\": 10, \"loss\": 0.5, \"rmse\": " +
                                   std::string(of == b ? "12.25" : "13.5") + ", \"mae\": 9.5, \"r2\": 0.75}");
    write(of + "/log.jsonl",
          "{\"step\": 1, \"split\": \"val\", \"rmse\": 30}\n{\"step\": 2, \"split\": \"val\", \"rmse\": 12}\n");
  }
  ASSERT_EQ(ig_report_compare(2, runs, out.c_str()), IG_OK) << ig_error_message();
  p = read_file(out);
  for (const char *text : {"<th class=n>RMSE</th>", ">12.25<", ">13.5<", ">0.750<", "Validation RMSE"})
    EXPECT_TRUE(has(p, text)) << text;
  EXPECT_FALSE(has(p, "Right %")) << "neither run has one";
}

TEST_F(Report, PredictionsAreChecked) {
  const char *path = "a,b\n.png", *names[] = {path};
  const char *const two[] = {"x", "y,z"};
  int32_t label = 1;
  float logits[] = {1, 3};
  std::string csv = f.path + "/p.csv";
  ASSERT_EQ(ig_report_predictions_csv(csv.c_str(), 1, names, &label, logits, 2, two, nullptr), IG_OK);
  EXPECT_EQ(read_file(csv),
            "path,label,predicted,p,loss,p_x,\"p_y,z\"\n\"a,b\n.png\",\"y,z\",\"y,z\",0.880797078,0.126928011,"
            "0.119202922,0.880797078\n");
  label = 2;
  EXPECT_EQ(ig_report_predictions_csv(csv.c_str(), 1, names, &label, logits, 2, two, nullptr), IG_ERR_DATA);
  label = -1;
  EXPECT_EQ(ig_report_predictions_csv(csv.c_str(), 1, names, &label, logits, 2, two, nullptr), IG_OK);
  logits[0] = NAN;
  EXPECT_EQ(ig_report_predictions_csv(csv.c_str(), 1, names, &label, logits, 2, two, nullptr), IG_ERR_NUMERIC);
}

}  // namespace
