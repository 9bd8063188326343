// The table of keys: parser, help, docs/keys.md, completion and args.yaml come from it. Rule: see keys.h.
#include "bindings/c/keys.h"

#pragma GCC diagnostic ignored "-Wmissing-field-initializers"  // a row says only what is not 0

#define V(verb) (1ull << IG_VERB_##verb)
enum { MAY = IG_KEY_MAY_CHANGE, CALL = IG_KEY_MAY_CHANGE | IG_KEY_NOT_SAVED };
#define ALL   ((1ull << IG_N_VERBS) - 1)
#define RUN   (V(TRAIN) | V(PLAN))
#define USE   (V(EVAL) | V(PREDICT) | V(DATA))
#define MODEL (RUN | USE)

// Keys without a default here get theirs from the model and the data (bindings/c/defaults.c), or are off.
static const ig_key keys[] = {
    // What is trained on what.
    {"model", IG_KEY_STRING, "", NULL, MODEL | V(CONVERT) | V(DEMO),
     "the model's name (resnet18, bert_base, ...), or a folder with config.json; eval, predict and convert: where the "
     "file does not say",
     .flags = 0},
    {"task", IG_KEY_ENUM, "", NULL, RUN,
     "what is learned: a class, numbers, any of several labels, a tag a word, or (mlm) masked words of raw text "
     "(default: by the data)",
     "classify|regress|multilabel|tag|mlm"},
    {"task", IG_KEY_ENUM, "", NULL, V(PREDICT), "embed: the text's vector in place of an answer", "embed"},
    {"label_column", IG_KEY_LIST, "", NULL, RUN | V(EVAL) | V(DATA),
     "columns of split=FILE.csv, or of a table of texts, with the class, numbers or labels (default: class, label, "
     "category or target; texts: else the one that is left; regress, multilabel: else all with a name but file, split "
     "and group)"},
    {"text_column", IG_KEY_STRING, "", NULL, RUN | V(EVAL) | V(PREDICT) | V(DATA),
     "texts: column of the text (default: text, sentence, or sentence1 and sentence2 of a pair; else the one that is "
     "left)"},
    {"text2_column", IG_KEY_STRING, "", NULL, RUN | V(EVAL) | V(PREDICT) | V(DATA),
     "texts: column of the second text of a pair"},
    {"data", IG_KEY_STRING, "path", NULL, RUN | V(EVAL),
     "folder with a folder of pictures (or .txt files) a class, in train/ val/ test/ where there are parts; CIFAR "
     "binary files; texts: a table (.csv, .tsv, .jsonl), words with tags (.conll), or a folder with train, dev and "
     "test of such; task=mlm: .txt files, or NVIDIA's shards (*training*.hdf5)",
     .flags = MAY},
    {"val", IG_KEY_STRING, "path", NULL, RUN | V(EVAL) | V(DATA), "another folder or table that is the validation part",
     .flags = MAY},
    {"split", IG_KEY_STRING, "", NULL, RUN | V(EVAL) | V(DATA),
     "share held out for validation where there is no such part (0.2, with a test part 0.15, texts 0.1, raw text "
     "0.05), "
     "or a CSV file: file[, split, class, group, "
     "numbers or labels]; multilabel: names with ; between, or a column of 0 and 1 a label"},
    {"part", IG_KEY_ENUM, "", "auto", V(EVAL), "part that is evaluated; auto: test, else val, else all",
     "auto|train|val|test|all"},
    {"weights", IG_KEY_STRING, "path", NULL, MODEL,
     "train: start from; else what is used: a run folder, a checkpoint, a .safetensors file or Keras's .h5 or .keras"},
    {"head", IG_KEY_ENUM, "", "keep", RUN,
     "new: a classifier of another number of classes starts afresh; keep: such weights are refused (one of other names "
     "starts afresh either way)",
     "keep|new"},
    {"freeze", IG_KEY_LIST, "", NULL, RUN, "tensors that are not trained, by public name; * stands for any text"},
    {"lr_scale", IG_KEY_LIST, "", NULL, RUN, "PATTERN:FACTOR,...: factor on the learning rate of these tensors"},
    {"out", IG_KEY_STRING, "path", NULL, V(TRAIN) | V(DEMO), "run folder (default: runs/<model>-<data>-<date>)",
     .flags = CALL},
    {"out", IG_KEY_STRING, "path", NULL, V(PREDICT) | V(REPORT) | V(DATA),
     "file that is written: predict: CSV, of task=embed .npy; data: HTML; report: HTML (by default report.html, of "
     "several comparison.html, in the first run's folder); data shard: folder"},

    // How long, how much at a time.
    {"epochs", IG_KEY_INT, "", NULL, RUN | V(DEMO), "passes over the training part", NULL, 1, 1e9, MAY},
    {"steps", IG_KEY_INT, "", NULL, RUN, "optimizer steps, in place of epochs", NULL, 1, 1e12, MAY},
    {"batch", IG_KEY_INT, "samples", NULL, MODEL, "samples a step", NULL, 1, 1048576},
    {"accumulate", IG_KEY_INT, "", "1", RUN, "micro-batches a step; their gradients are added", NULL, 1, 65536},

    // Pictures.
    {"image_size", IG_KEY_INT, "pixels", NULL, MODEL, "side of the square the model sees", NULL, 8, 4096},
    {"crop_ratio", IG_KEY_FLOAT, "", NULL, MODEL,
     "evaluation: share of the shorter side that the centre crop takes (torchvision: 0.875); 0: the whole picture",
     NULL, 0, 1},
    {"augment", IG_KEY_ENUM, "", NULL, RUN, "level of augmentation; each part is also a key of its own",
     "none|light|standard|strong"},
    {"flip", IG_KEY_BOOL, "", NULL, RUN, "left-right flips, every second picture"},
    {"vflip", IG_KEY_BOOL, "", NULL, RUN, "upside-down flips, every second picture"},
    {"transpose", IG_KEY_BOOL, "", NULL, RUN, "exchange of rows and columns, every second picture"},
    {"rotate", IG_KEY_FLOAT, "degrees", "0", RUN, "random rotation by up to", NULL, 0, 180},
    {"crop_scale", IG_KEY_FLOATS, "", NULL, RUN, "random crops of MIN,MAX of the area; 1: none", NULL, 0.01, 1},
    {"jitter", IG_KEY_FLOAT, "", NULL, RUN, "brightness, contrast and saturation change by up to this share", NULL, 0,
     1},
    {"mixup", IG_KEY_FLOAT, "", NULL, RUN, "alpha of mixed pairs of pictures; 0: off", NULL, 0, 100},
    {"cutmix", IG_KEY_FLOAT, "", NULL, RUN, "alpha of rectangles pasted from another picture; 0: off", NULL, 0, 100},
    {"erase", IG_KEY_FLOAT, "", NULL, RUN, "probability of an erased rectangle", NULL, 0, 1},

    // Texts.
    {"tokenizer", IG_KEY_STRING, "path", NULL, RUN | V(EVAL) | V(PREDICT) | V(CONVERT),
     "vocab.txt, tokenizer.json or a folder with one (default: the model's or the weights' folder; mlm with fresh "
     "weights: learned from data)"},
    {"vocabulary", IG_KEY_INT, "tokens", NULL, RUN,
     "mlm without tokenizer: tokens that are learned from data, special ones included (default: one a kilobyte of "
     "text, 1000 to 30522)",
     NULL, 6, 4e6},
    {"max_length", IG_KEY_INT, "tokens", NULL, RUN | V(EVAL) | V(PREDICT) | V(CONVERT),
     "texts are cut to so many tokens, special ones included (default: what model and tokenizer allow; mlm: 128)", NULL,
     3, 1048576},
    {"pairs", IG_KEY_ENUM, "", "next", RUN, "mlm: second task: does the sentence follow, are the two in order, or none",
     "none|next|order"},
    {"mask_share", IG_KEY_FLOAT, "", "0.15", RUN, "mlm: share of the tokens that are predicted", NULL, 0, 1,
     IG_KEY_MIN_OPEN | IG_KEY_MAX_OPEN},
    {"max_length2", IG_KEY_INT, "tokens", NULL, RUN,
     "mlm: length of a second phase at the end of the run, such as 512 after 128 (default: one phase)", NULL, 3,
     1048576},
    {"phase2", IG_KEY_FLOAT, "", "0.1", RUN, "mlm: share of the steps that the phase of max_length2 takes", NULL, 0, 1,
     IG_KEY_MIN_OPEN | IG_KEY_MAX_OPEN},
    {"whole_word", IG_KEY_BOOL, "", "0", RUN, "mlm: a word's pieces are masked together"},
    {"layer_decay", IG_KEY_FLOAT, "", "0", RUN,
     "texts: factor on the learning rate from each layer to the one below; 0: the same for all", NULL, 0, 1},
    {"pooling", IG_KEY_ENUM, "", NULL, V(PREDICT),
     "embed: mean of all tokens, or the first one's vector (default: as 1_Pooling/config.json beside the weights says, "
     "else mean)",
     "mean|cls"},

    // Optimizer, schedule, loss.
    {"optimizer", IG_KEY_ENUM, "", NULL, RUN, "how weights are updated", "sgd|adam|adamw|rmsprop|lars|lamb"},
    {"lr", IG_KEY_FLOAT, "", NULL, RUN, "learning rate at its peak", NULL, 0, 1e6, IG_KEY_MIN_OPEN},
    {"momentum", IG_KEY_FLOAT, "", NULL, RUN, "sgd, lars, rmsprop", NULL, 0, 1, IG_KEY_MAX_OPEN},
    {"dampening", IG_KEY_FLOAT, "", "0", RUN, "sgd, lars: share of the gradient kept from the momentum", NULL, 0, 1},
    {"nesterov", IG_KEY_BOOL, "", NULL, RUN, "sgd, lars: Nesterov's momentum"},
    {"weight_decay", IG_KEY_FLOAT, "", NULL, RUN, "decay of weights", NULL, 0, 10},
    {"no_decay", IG_KEY_LIST, "", NULL, RUN, "tensors without decay, by public name (default: those of one dimension)"},
    {"l1", IG_KEY_FLOAT, "", "0", RUN, "factor of the sum of absolute weights", NULL, 0, 10},
    {"betas", IG_KEY_FLOATS, "", NULL, RUN, "adam, adamw, lamb: decay of the two averages", NULL, 0, 1,
     IG_KEY_MAX_OPEN},
    {"eps", IG_KEY_FLOAT, "", NULL, RUN, "all but sgd: added to the denominator", NULL, 0, 1, IG_KEY_MIN_OPEN},
    {"alpha", IG_KEY_FLOAT, "", NULL, RUN, "rmsprop: decay of the average square", NULL, 0, 1, IG_KEY_MAX_OPEN},
    {"centered", IG_KEY_BOOL, "", "0", RUN, "rmsprop: variance in place of the mean square"},
    {"trust_coeff", IG_KEY_FLOAT, "", NULL, RUN, "lars: trust coefficient", NULL, 0, 10, IG_KEY_MIN_OPEN},
    {"always_adapt", IG_KEY_BOOL, "", "0", RUN, "lars, lamb: trust ratio also for tensors without decay"},
    {"max_grad_norm", IG_KEY_FLOAT, "", NULL, RUN, "lamb: norm above which gradients are scaled down; 0: off", NULL, 0,
     1e9},
    {"clip", IG_KEY_FLOAT, "", NULL, RUN, "largest norm of all gradients together; 0: off", NULL, 0, 1e9},
    {"schedule", IG_KEY_ENUM, "", NULL, RUN, "course of the learning rate",
     "constant|linear|cosine|poly|step|onecycle|exponential|rsqrt"},
    {"warmup", IG_KEY_FLOAT, "steps", NULL, RUN, "steps of rising learning rate; below 1: share of all steps", NULL, 0,
     1e12},
    {"lr_end", IG_KEY_FLOAT, "", "0", RUN, "linear, cosine, poly: last learning rate", NULL, 0, 1e6},
    {"power", IG_KEY_FLOAT, "", "1", RUN, "poly: degree", NULL, 0, 100, IG_KEY_MIN_OPEN},
    {"gamma", IG_KEY_FLOAT, "", "0", RUN, "step, exponential: factor; 0: 0.1, or lr / 100 at the end", NULL, 0, 1},
    {"step_size", IG_KEY_INT, "steps", "0", RUN, "step: steps between drops; 0: a third of all", NULL, 0, 1e12},
    {"loss", IG_KEY_ENUM, "", NULL, RUN,
     "classify: ce (cross-entropy), focal; regress: mse, l1, huber of standardised numbers; multilabel: bce, focal",
     "ce|focal|mse|l1|huber|bce"},
    {"focal_gamma", IG_KEY_FLOAT, "", "2", RUN, "focal: exponent", NULL, 0, 100},
    {"huber_delta", IG_KEY_FLOAT, "", "1", RUN, "huber: where squares become lines, in standard deviations", NULL, 0,
     1e6, IG_KEY_MIN_OPEN},
    {"label_smoothing", IG_KEY_FLOAT, "", NULL, RUN, "classify: share of the label spread over all classes", NULL, 0, 1,
     IG_KEY_MAX_OPEN},
    {"class_weights", IG_KEY_STRING, "", "none", RUN,
     "none, balanced (n / (classes x n of the class); multilabel: samples without / with the label), or a CSV file: "
     "class,weight"},
    {"loss_scale", IG_KEY_FLOAT, "", NULL, RUN,
     "precision=fp16: a fixed factor on the mean loss, so that small gradients stay numbers; dynamic (the default): "
     "half "
     "as much after an overflow, twice after 2000 steps without",
     "dynamic", 0, 16777216, IG_KEY_MIN_OPEN},
    {"dropout", IG_KEY_FLOAT, "", NULL, RUN,
     "share of the features that are dropped in training: pictures: before the classifier (0; VGG: behind both hidden "
     "layers, 0.5); texts: everywhere (by default what the model's configuration says)",
     NULL, 0, 1, IG_KEY_MAX_OPEN},
    {"ema", IG_KEY_FLOAT, "", NULL, RUN, "decay of the averaged weights; 0: off", NULL, 0, 1, IG_KEY_MAX_OPEN},
    {"ema", IG_KEY_BOOL, "", "1", USE | V(CONVERT), "checkpoints: take the averaged weights where there are some"},
    {"zero_init_residual", IG_KEY_BOOL, "", "1", RUN, "fresh weights: every residual block starts as the identity"},

    // Running.
    {"deterministic", IG_KEY_BOOL, "", "0", MODEL, "the same bits again on every machine with these instruction sets"},
    {"shards", IG_KEY_INT, "", "8", RUN, "deterministic: virtual shards of a batch", NULL, 1, 1024},
    {"save_every", IG_KEY_DURATION, "steps", NULL, V(TRAIN),
     "checkpoint every so many steps, or 30s, 10m (default: 5m)", NULL, 0, 1e12, MAY | IG_KEY_MIN_OPEN},
    {"keep", IG_KEY_INT, "", "3", V(TRAIN), "checkpoints that stay, beside the best", NULL, 3, 1e6, MAY},
    {"resume", IG_KEY_STRING, "", NULL, V(TRAIN),
     "auto: start, or go on with the run that is there; PATH: go on from this run folder or checkpoint", .flags = CALL},
    {"time_limit", IG_KEY_DURATION, "s", NULL, V(TRAIN),
     "stop with a checkpoint and exit code 75 after this time, counted from the first step; 0: no limit", NULL, 0, 1e10,
     MAY},
    {"patience", IG_KEY_INT, "evaluations", "0", V(TRAIN),
     "end after so many evaluations without a better one; there is one an epoch, of 80 epochs or more one every "
     "epochs/40; 0: off",
     NULL, 0, 1e9},
    {"monitor", IG_KEY_ENUM, "", NULL, V(TRAIN),
     "what the best epoch is best in (default: accuracy; regress: rmse; multilabel: average_precision); accuracy, "
     "fresh weights: the last epoch within a standard error of the highest is kept",
     "accuracy|loss|f1|roc_auc|average_precision|rmse|mae|r2"},
    {"strict", IG_KEY_BOOL, "", "0", V(TRAIN) | V(EVAL), "an unreadable picture is an error, not skipped and counted"},
    {"nan_limit", IG_KEY_INT, "", "3", V(TRAIN),
     "losses in a row that are not finite before the last checkpoint is taken again", NULL, 1, 1e6},
    {"memory", IG_KEY_SIZE, "bytes", NULL, RUN, "budget of the run; a plan beyond it is refused; 0: no limit", NULL, 0,
     0, MAY},
    {"recompute", IG_KEY_ENUM, "", "auto", RUN,
     "less memory: cheap results are computed again in the backward pass; auto: where that can save a fifth, as much "
     "as saves a ninth (in 16 bits copies of weights on top)",
     "auto|0|1"},
    {"winograd", IG_KEY_BOOL, "", "1", RUN, "faster, less exact convolutions are allowed"},
    {"winograd", IG_KEY_BOOL, "", "0", USE, "faster, less exact convolutions are allowed"},
    {"impl", IG_KEY_STRING, "", NULL, MODEL,
     "in place of the fastest (auto): cuda (hand-written), library, or OP=IMPLEMENTATION,...; *=ref: references"},
    {"cache", IG_KEY_SIZE, "bytes", "auto", RUN, "decoded pictures kept in memory; auto: a quarter of it", "auto", 0, 0,
     MAY},
    {"loader_threads", IG_KEY_INT, "", "auto", RUN, "threads that read pictures; auto: as many as threads", "auto", 1,
     1024, MAY},
    {"samples", IG_KEY_INT, "", NULL, V(DEMO),
     "pictures that the demo makes (default: 1800); demo text: documents to pre-train on (4000)", NULL, 120, 1e6},

    // data shard.
    {"data", IG_KEY_STRING, "path", NULL, V(DATA), "shard: raw text: a .txt file, or a folder of such"},
    {"tokenizer", IG_KEY_STRING, "path", NULL, V(DATA),
     "vocab.txt, tokenizer.json or a folder with one of them; a report of texts counts tokens and unknown words by it"},
    {"max_length", IG_KEY_INT, "tokens", "128", V(DATA),
     "shard: of a row, special ones included; a report of texts: what they would be cut to (the tokenizer's, or 512)",
     NULL, 3, 32768},
    {"pairs", IG_KEY_ENUM, "", "next", V(DATA),
     "shard: next: half of the second segments are of another document; order: half are the first; none: one segment",
     "next|order|none"},
    {"mask_share", IG_KEY_FLOAT, "", "0.15", V(DATA), "shard: share of the tokens that are predicted", NULL, 0, 1,
     IG_KEY_MIN_OPEN | IG_KEY_MAX_OPEN},
    {"max_masked", IG_KEY_INT, "tokens", NULL, V(DATA), "shard: of a row (default: mask_share x max_length)", NULL, 1,
     65536},
    {"whole_word", IG_KEY_BOOL, "", "0", V(DATA), "shard: all pieces of a word are predicted, or none"},
    {"epochs", IG_KEY_INT, "", "1", V(DATA), "shard: how often all text is written, with other masks each time", NULL,
     1, 1e6},
    {"rows", IG_KEY_INT, "", "32768", V(DATA), "shard: rows of a file", NULL, 1, 16777216},

    // predict, plan, keys.
    {"reject", IG_KEY_FLOAT, "", "0", V(PREDICT),
     "answer `unsure` below this probability (multilabel: of a label; regress has none)", NULL, 0, 1},
    {"logits", IG_KEY_STRING, "path", NULL, V(EVAL), "file (.npy) the logits are written to, a row a sample"},
    {"format", IG_KEY_ENUM, "", "text", V(KEYS), "markdown: docs/keys.md", "text|markdown"},

    // tokenizer.
    {"tokenizer", IG_KEY_STRING, "path", NULL, V(TOKENIZER),
     "encode, decode: vocab.txt, tokenizer.json or a folder that holds one of them"},
    {"special", IG_KEY_BOOL, "", "1", V(TOKENIZER), "encode: add [CLS] and [SEP]; decode: show special tokens"},
    {"pairs", IG_KEY_BOOL, "", "0", V(TOKENIZER), "encode: a line is two texts with a tab between"},
    {"max_length", IG_KEY_INT, "tokens", "0", V(TOKENIZER),
     "encode: longer texts are cut, special tokens included; train: noted as model_max_length; 0: no limit", NULL, 0,
     1e6},
    {"truncation", IG_KEY_ENUM, "", "longest_first", V(TOKENIZER), "encode: which text of a pair is cut",
     "longest_first|only_first|only_second"},
    {"vocabulary", IG_KEY_INT, "tokens", "30522", V(TOKENIZER), "train: size, special tokens included", NULL, 6, 4e6},
    {"lowercase", IG_KEY_BOOL, "", "1", V(TOKENIZER), "train: lower case without accents"},
    {"min_frequency", IG_KEY_INT, "", "2", V(TOKENIZER), "train: pairs that are rarer are not merged", NULL, 1, 1e9},
    {"alphabet", IG_KEY_INT, "", "1000", V(TOKENIZER), "train: characters that are kept, the most frequent ones", NULL,
     1, 1e6},
    {"out", IG_KEY_STRING, "path", NULL, V(TOKENIZER),
     "train: new folder for vocab.txt, tokenizer.json and tokenizer_config.json"},

    // bench.
    {"model", IG_KEY_STRING, "", "resnet18", V(BENCH), "step: what is measured; kernels: whose shapes, too: a,b"},
    {"mode", IG_KEY_ENUM, "", "train", V(BENCH), "step: training steps (forward, backward, update), or inference",
     "train|infer"},
    {"data", IG_KEY_STRING, "path", NULL, V(BENCH),
     "loader: folder of pictures, or with tokenizer a table or raw text; tokenizer: text, a file or a folder of .txt"},
    {"tokenizer", IG_KEY_STRING, "path", NULL, V(BENCH),
     "tokenizer, loader of texts: vocab.txt, tokenizer.json or a folder of these"},
    {"offsets", IG_KEY_BOOL, "", "0", V(BENCH), "tokenizer: with places and words, too"},
    {"batch", IG_KEY_INT, "samples", "16", V(BENCH), "samples a step", NULL, 1, 1048576},
    {"image_size", IG_KEY_INT, "pixels", NULL, V(BENCH), "side of the pictures (default: the model's)", NULL, 8, 4096},
    {"classes", IG_KEY_INT, "", NULL, V(BENCH), "outputs of the head (default: 1000, CIFAR models 10, texts 2)", NULL,
     2, 1e6},
    {"max_length", IG_KEY_INT, "tokens", "128", V(BENCH), "texts: tokens of the longest", NULL, 3, 1048576},
    {"lengths", IG_KEY_ENUM, "", "full", V(BENCH),
     "texts: all of max_length, or as the messages of banking77 or the chunks of a corpus are",
     "full|banking77|corpus"},
    {"task", IG_KEY_ENUM, "", "mlm", V(BENCH),
     "texts: masked words (15 %, at 128 tokens 20) and pairs, as in pre-training, or a class (loader: by the data)",
     "mlm|classify"},
    {"dropout", IG_KEY_FLOAT, "", "0", V(BENCH),
     "texts: in training, on both sides; 0: off, so that losses can be compared", NULL, 0, 1, IG_KEY_MAX_OPEN},
    {"steps", IG_KEY_INT, "", "5", V(BENCH), "step: steps of a round", NULL, 1, 1e6},
    {"rounds", IG_KEY_INT, "", "4", V(BENCH), "rounds; with rivals all take turns in each", NULL, 1, 1e6},
    {"rivals", IG_KEY_LIST, "", NULL, V(BENCH),
     "step: pytorch, pytorch-tuned, pytorch-compile; loader: torchvision; tokenizer: tokenizers, tokenizers-fast "
     "(./dev "
     "rivals installs them)"},
    {"detail", IG_KEY_BOOL, "", "0", V(BENCH), "step: a row an operation and a row a node"},
    {"trace", IG_KEY_STRING, "path", NULL, V(BENCH), "step: file for a time line of one step (Chrome's trace format)"},
    {"startup", IG_KEY_BOOL, "", "0", V(BENCH),
     "step: time from the start of a process to its first step, with and without stored choices"},
    {"op", IG_KEY_LIST, "", NULL, V(BENCH), "kernels: rows by name; * stands for any text"},
    {"shape", IG_KEY_STRING, "", NULL, V(BENCH), "kernels: cases whose shape or name is this; * stands for any text"},
    {"list", IG_KEY_BOOL, "", "0", V(BENCH), "kernels: name rows and implementations, measure nothing"},
    {"launches", IG_KEY_INT, "", NULL, V(BENCH), "kernels: launch each so often and time nothing (for profilers)", NULL,
     1, 1e6},
    {"cold", IG_KEY_ENUM, "", "auto", V(BENCH),
     "kernels: operands come from memory, not from the cache; auto: on a GPU", "auto|0|1"},
    {"seconds", IG_KEY_INT, "s", NULL, V(BENCH), "kernels: measure no longer; what is left out is counted", NULL, 1,
     1e6},
    {"against", IG_KEY_STRING, "path", NULL, V(BENCH), "kernels: compare with this earlier answer (JSON)"},
    {"recompute", IG_KEY_ENUM, "", "auto", V(BENCH), "less memory, as of train", "auto|0|1"},
    {"deterministic", IG_KEY_BOOL, "", "0", V(BENCH), "the same bits again, as of train"},
    {"winograd", IG_KEY_BOOL, "", "1", V(BENCH), "faster, less exact convolutions are allowed"},
    {"impl", IG_KEY_STRING, "", NULL, V(BENCH), "step: OP=IMPLEMENTATION,... in place of the fastest; kernels: names"},

    // Every verb.
    {"device", IG_KEY_STRING, "", "auto", ALL, "auto (cpu), cpu, cuda, cuda:N", .flags = MAY},
    {"precision", IG_KEY_ENUM, "", "auto", RUN | V(DEMO),
     "arithmetic; auto: bf16 where it is faster than fp32; tf32, fp16: GPUs", "fp32|tf32|bf16|fp16|auto"},
    {"precision", IG_KEY_ENUM, "", "fp32", ALL & ~(RUN | V(DEMO)),
     "arithmetic; auto: bf16 where it is faster than fp32; tf32, fp16: GPUs", "fp32|tf32|bf16|fp16|auto"},
    {"threads", IG_KEY_INT, "", "auto", ALL, "threads; auto: what affinity and cgroup allow", "auto", 1, 4096, MAY},
    {"isa", IG_KEY_ENUM, "", "auto", ALL, "cap on the instruction set", "auto|base|avx2|avx512|avx512_bf16|amx",
     .flags = MAY},
    {"seed", IG_KEY_INT, "", "0", ALL, "seed of everything that is random", NULL, 0, 9007199254740992.0},
    {"json", IG_KEY_BOOL, "", "0", ALL, "the result as JSON on standard output", .flags = CALL},
    {"quiet", IG_KEY_BOOL, "", "0", ALL, "no progress and no notes", .flags = CALL},
    {"config", IG_KEY_CONFIG, "", NULL, ALL, "a YAML file of keys; may repeat, later ones win", .flags = CALL},
};

static const char *const verbs[IG_N_VERBS] = {"train", "eval",       "predict", "plan",   "convert", "checkpoint",
                                              "data",  "tokenizer",  "report",  "demo",   "bench",   "doctor",
                                              "keys",  "completion", "help",    "version"};

const char *const ig_verb_usage[IG_N_VERBS] = {
    "ingot train model=NAME data=PATH [out=RUN] [weights=PATH] [resume=auto] [key=value]...",
    "ingot eval weights=PATH data=PATH [part=test] [logits=FILE.npy] [key=value]...",
    "ingot predict weights=PATH PATH... [reject=P] [out=FILE.csv] [key=value]...",
    "ingot plan model=NAME data=PATH [key=value]...",
    "ingot convert IN OUT.safetensors|FOLDER/step-N|FOLDER [model=NAME]",
    "ingot checkpoint list|verify|show RUN",
    ("ingot data PATH [split=FILE.csv] [weights=RUN] [out=FILE.html] [key=value]... | "
     "data shard data=TEXT tokenizer=VOCAB out=FOLDER [key=value]..."),
    "ingot tokenizer train TEXT... out=FOLDER [vocabulary=N] | encode|decode tokenizer=PATH [PATH]... [key=value]...",
    "ingot report RUN... [out=FILE.html]",
    "ingot demo [text] [out=FOLDER] [key=value]...",
    "ingot bench kernels|step|loader|tokenizer [key=value]...",
    "ingot doctor",
    "ingot keys [VERB] [format=markdown]",
    "ingot completion bash|zsh",
    "ingot help [VERB]",
    "ingot version",
};

const char *const ig_verb_meaning[IG_N_VERBS] = {
    "trains or fine-tunes a model; everything of the run is in its folder",
    "measures weights on labelled data",
    "answers for pictures (files, folders, or - for a path a line of standard input) or for texts (tables, files with "
    "a "
    "text a line, or - for a text a line)",
    "what a train would take, without running it: parameters, bytes, time a step, a table of layers",
    "writes the weights of a run folder, checkpoint, .safetensors or Keras file under public names: a file, a "
    "checkpoint "
    "or a folder",
    "lists the checkpoints of a run, checks every hash of them, or shows the newest one's tensors",
    "quality of a data set: unreadable files, copies, leaks between the parts, balance, odd pictures, doubtful labels; "
    "shard: masks raw text and writes NVIDIA's pre-training shards",
    "WordPiece: learns a vocabulary from raw text, or turns texts into ids and back, a line each (files, or standard "
    "input)",
    "one HTML file of a run, or a comparison of several",
    "makes its own data, trains, evaluates, predicts and writes the report: of pictures, or (demo text) of messages, "
    "with and without pre-training",
    "measures kernels, whole steps, the reading of pictures or the tokenizer on this machine, beside rivals where "
    "installed",
    "processors, libraries, versions, writable folders, and what is missing",
    "lists every key with type, unit, default and meaning",
    "prints a completion script of a shell: source <(ingot completion bash)",
    "lists the verbs, or explains one",
    "version, git hash, back ends and library versions",
};

const ig_key_table ig_keys = {keys, sizeof keys / sizeof *keys, verbs, IG_N_VERBS};
