// Writes the seed corpora: fuzz_seeds FOLDER. Rule: all of it is made here, by the libraries' own writers and by hand;
// regressions (what a fuzzer once broke) lie beside as files named found-*.
#include <filesystem>
#include <fstream>
#include <sstream>

#include "runtime/base/mem.h"
#include "runtime/ckpt/checkpoint.h"
#include "runtime/ckpt/safetensors.h"
#include "tests/image_bytes.h"

extern "C" {
#include "runtime/data/corpus_internal.h"
}

namespace fs = std::filesystem;
using namespace pic;

namespace {

fs::path root;

void seed(const std::string &target, const std::string &name, const std::string &bytes) {
  fs::create_directories(root / target);
  std::ofstream(root / target / name, std::ios::binary).write(bytes.data(), (std::streamsize)bytes.size());
}

std::string slurp(const fs::path &path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

void images() {
  const int W = 19, H = 13;
  Bytes grey = draw(W, H, 1), rgb = draw(W, H, 3), rgba = draw(W, H, 4), wide = draw(W * 2, H, 3);
  seed("jpeg", "grey", jpeg(grey, W, H, 1));
  seed("jpeg", "420", jpeg(rgb, W, H, 3));
  seed("jpeg", "444-exif", jpeg(rgb, W, H, 3, {75, false, 1, false, 0, exif(6)}));
  seed("jpeg", "progressive", jpeg(rgb, W, H, 3, {60, true, 2, false, 0, exif(3, true)}));
  seed("jpeg", "cmyk", jpeg(rgba, W, H, 4));
  seed("jpeg", "ycck", jpeg(rgba, W, H, 4, {80, false, 1, true, 0, ""}));
  seed("jpeg", "scans", jpeg(draw(8, 8, 1), 8, 8, 1, {50, true, 1, false, 1, ""}));
  seed("jpeg", "316-scans", jpeg(draw(8, 8, 1), 8, 8, 1, {50, true, 1, false, 5, ""}));

  seed("png", "rgb", png(rgb, W, H));
  seed("png", "grey16", png(wide, W, H, {PNG_COLOR_TYPE_RGB, 16, false, {}, {}, ""}).substr(0, 4096));
  seed("png", "grey", png(grey, W, H, {PNG_COLOR_TYPE_GRAY, 8, true, {}, {}, exif(8)}));
  seed("png", "alpha", png(rgba, W, H, {PNG_COLOR_TYPE_RGB_ALPHA, 8, false, {}, {}, ""}));
  for (int depth : {1, 2, 4, 8}) {
    std::vector<png_color> palette(1u << depth);
    for (size_t i = 0; i < palette.size(); i++)
      palette[i] = {(png_byte)(i * 7), (png_byte)(i * 13), (png_byte)(255 - i)};
    seed("png", "palette" + std::to_string(depth),
         png(grey, W, H, {PNG_COLOR_TYPE_PALETTE, depth, depth == 2, palette, Bytes(palette.size() / 2, 9), ""}));
  }

  auto tif = [&](const char *name, const Bytes &p, const TiffOptions &o) { seed("tiff", name, pic::tiff(p, W, H, o)); };
  tif("rgb", rgb, {});
  tif("big-endian", rgb, {3, 8, PHOTOMETRIC_RGB, COMPRESSION_NONE, 6, false, 0, 7, true, -1, {}});
  tif("lzw", rgb, {3, 8, PHOTOMETRIC_RGB, COMPRESSION_LZW, 1, false, 0, 7, false, -1, {}});
  tif("deflate", grey, {1, 8, PHOTOMETRIC_MINISBLACK, COMPRESSION_ADOBE_DEFLATE, 1, false, 0, 7, false, -1, {}});
  tif("packbits", grey, {1, 8, PHOTOMETRIC_MINISWHITE, COMPRESSION_PACKBITS, 3, false, 0, 7, false, -1, {}});
  tif("planes", rgb, {3, 8, PHOTOMETRIC_RGB, COMPRESSION_NONE, 1, true, 0, 7, false, -1, {}});
  tif("tiles", rgb, {3, 8, PHOTOMETRIC_RGB, COMPRESSION_LZW, 1, false, 16, 7, false, -1, {}});
  tif("bits1", grey, {1, 1, PHOTOMETRIC_MINISBLACK, COMPRESSION_NONE, 1, false, 0, 7, false, -1, {}});
  tif("bits16", draw(W * 2, H, 1), {1, 16, PHOTOMETRIC_MINISBLACK, COMPRESSION_NONE, 1, false, 0, 7, false, -1, {}});
  tif("alpha", rgba, {4, 8, PHOTOMETRIC_RGB, COMPRESSION_NONE, 1, false, 0, 7, false, EXTRASAMPLE_UNASSALPHA, {}});
  tif("cmyk", rgba, {4, 8, PHOTOMETRIC_SEPARATED, COMPRESSION_NONE, 1, false, 0, 7, false, -1, {}});
  tif("jpeg", rgb, {3, 8, PHOTOMETRIC_YCBCR, COMPRESSION_JPEG, 1, false, 0, 16, false, -1, {}});
  std::vector<uint16_t> colours(3 * 16);
  for (size_t i = 0; i < colours.size(); i++)
    colours[i] = (uint16_t)(i * 1365);
  tif("palette", grey, {1, 4, PHOTOMETRIC_PALETTE, COMPRESSION_NONE, 1, false, 0, 7, false, -1, colours});

  seed("webp", "rgb", webp(rgb, W, H, 3));
  seed("webp", "alpha", webp(rgba, W, H, 4));
  seed("webp", "exif", webp(rgba, W, H, 4, exif(5)));
  uint8_t *lossy = nullptr;
  size_t n = WebPEncodeRGB(rgb.data(), W, H, 3 * W, 70, &lossy);
  seed("webp", "lossy", std::string((char *)lossy, n));
  WebPFree(lossy);

  std::string palette16(64, '\x55'), palette2("\0\0\0\0\xff\xff\xff\0", 8), masks;
  put32(masks, 0xf800), put32(masks, 0x07e0), put32(masks, 0x001f);
  seed("bmp", "24", bmp24(rgb, W, H));
  seed("bmp", "1", bmp(9, 3, 1, 0, palette2, std::string(12, '\xa5'), 2));
  seed("bmp", "4", bmp(9, 3, 4, 0, palette16, std::string(24, '\x3c'), 16));
  seed("bmp", "8", bmp(9, 3, 8, 0, palette16, std::string(36, '\x07'), 16));
  seed("bmp", "rle8", bmp(6, 3, 8, 1, palette16, std::string("\6\1\0\0\0\4\1\2\3\4\2\5\0\0\0\2\1\0\4\3\0\1", 22), 16));
  seed("bmp", "rle4", bmp(6, 2, 4, 2, palette16, std::string("\6\x12\0\0\0\6\x12\x34\x56\0\0\1", 12), 16));
  seed("bmp", "16-masks", bmp(5, 3, 16, 3, masks, std::string(36, '\x6b')));
  seed("bmp", "32", bmp(5, 3, 32, 0, "", std::string(60, '\x42')));
  seed("bmp", "top-down", bmp(5, -3, 24, 0, "", std::string(48, '\x42')));
}

// header as text, then the data.
std::string safetensors(const std::string &header, const std::string &data) {
  std::string s;
  put32(s, (uint32_t)header.size()), put32(s, 0);
  return s + header + data;
}

void weights() {
  seed("safetensors", "one",
       safetensors(R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})", std::string(24, '\x3f')));
  seed(
      "safetensors", "many",
      safetensors(
          R"({"__metadata__":{"format":"pt","classes":"[\"a\",\"b\"]"},"n":{"dtype":"I64","shape":[],"data_offsets":[0,8]},)"
          R"("h":{"dtype":"F16","shape":[4],"data_offsets":[8,16]},"b":{"dtype":"BF16","shape":[2,2],"data_offsets":[16,24]},)"
          R"("d":{"dtype":"F64","shape":[1,1],"data_offsets":[24,32]},"u":{"dtype":"U8","shape":[5],"data_offsets":[32,37]},)"
          R"("t":{"dtype":"BOOL","shape":[3],"data_offsets":[37,40]},"f4":{"dtype":"F4","shape":[6],"data_offsets":[40,43]},)"
          R"("e":{"dtype":"F32","shape":[0,7],"data_offsets":[43,43]}}  )",
          std::string(43, '\1')));
  seed("safetensors", "empty", safetensors("{}", ""));
  seed("safetensors", "nested", safetensors(R"({"a":{"dtype":"F32","shape":[[[[1]]]],"data_offsets":[0,4]}})", "1234"));
  seed("safetensors", "overflow",
       safetensors(R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", ""));
  seed("safetensors", "escapes",
       safetensors("{\"\\u00e9\\ud83d\\ude00\\n\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]}}", "1"));
  seed("safetensors", "zip", "PK\3\4 something else");
  seed("safetensors", "pickle", "\x80\2}q\1.");
}

void manifests() {
  fs::path work = fs::temp_directory_path() / "ingot-fuzz-seeds";
  fs::remove_all(work);
  float values[6] = {1, 2, 3, 4, 5, 6};
  int64_t count = 7;
  ig_ckpt_tensor tensors[3] = {{"conv.weight", IG_F32, 2, {2, 3}, values, "weights", 0},
                               {"m/conv.weight", IG_F32, 1, {6}, values, "moments", 0},
                               {"count", IG_I64, 0, {}, &count, "state", 0}};
  for (int ranks : {1, 2}) {
    std::string folder = work / std::to_string(ranks);
    char *rows[2] = {};
    ig_ckpt_save_options o = {};
    o.folder = folder.c_str(), o.step = 3, o.world_size = ranks, o.run_uuid = "123e4567-e89b-12d3-a456-426614174000";
    o.config_hash = "c0ffee", o.protect = -1, o.state_json = "{\"position\":384}";
    if (ig_ckpt_begin(&o) != IG_OK)
      return;
    for (o.rank = 0; o.rank < ranks; o.rank++, o.state_json = nullptr) {
      if (ranks == 2) {
        tensors[1].dims[0] = 3;
        tensors[1].offset = 3 * o.rank;
      }
      (void)!ig_ckpt_write_shard(&o, tensors + (o.rank ? 1 : 0), o.rank ? 1 : 3, &rows[o.rank]);
    }
    o.rank = 0;
    o.state_json = "{\"position\":384}";
    (void)!ig_ckpt_commit(&o, rows, (size_t)ranks);
    seed("manifest", "ranks" + std::to_string(ranks), slurp(fs::path(folder) / "step-3" / "MANIFEST"));
    ig_free(rows[0]);
    ig_free(rows[1]);
  }
  fs::remove_all(work);
  // Edits of fuzz_checkpoint: file and kind, place, length, bytes.
  seed("checkpoint", "nothing", "");
  seed("checkpoint", "manifest-byte", std::string("\0\x40\0\0\1x", 6));
  seed("checkpoint", "shard-byte", std::string("\1\0\x08\0\1x", 6));
  seed("checkpoint", "cut", std::string("\3\0\x10\0\0", 5));
  seed("checkpoint", "cut-manifest", std::string("\2\0\1\0\0", 5));
  seed("checkpoint", "two", std::string("\1\0\1\0\4abcd\0\x20\1\0\2{}", 16));
}

void tables() {
  const char *const csv[][2] = {
      {"parts", "file,split,class\na/0.bmp,train,x\na/1.bmp,train,y\nb/4.bmp,val,x\nb/5.bmp,test,y\n"},
      {"folders", "path,part\na/0.bmp,train\nb/4.bmp,train\na/1.bmp,val\nb/5.bmp,val\n"},
      {"quotes",
       "\xef\xbb\xbf\"file\";\"class\";\"group\"\r\n\"a/0.bmp\";\"x \"\"y\"\"\";g1\r\na/1.bmp;\"two\nlines\";g2\r\n"
       "a/2.bmp;\"x \"\"y\"\"\";g1\r\na/3.bmp;\"two\nlines\";g3\r\n"},
      {"tabs", "file\tlabel\na/0.bmp\t0\na/1.bmp\t1\na/2.bmp\t0\na/3.bmp\t1\nb/4.bmp\t0\nb/5.bmp\t1\n"},
      {"numbers", "file,x,y\na/0.bmp,1,2e-3\na/1.bmp,-0.5,3\na/2.bmp,2,1\nb/4.bmp,3,7\nb/5.bmp,4,9\n"},
      {"labels", "file,x,y\na/0.bmp,1,0\na/1.bmp,0,1\na/2.bmp,1,1\nb/4.bmp,0,0\nb/5.bmp,1,0\n"},
      {"broken", "file,class\na/0.bmp\n\"a/1.bmp,x"}};
  for (auto &row : csv)
    for (int ask : {0, 2, 3, 8})
      if (ask == 0 || row[0] == std::string("numbers") || row[0] == std::string("labels") || ask == 8)
        seed("split", row[0] + std::string("-") + std::to_string(ask), std::string(1, (char)ask) + row[1]);
  seed("split", "columns", std::string(1, 66) + csv[4][1]);

  std::string ten, hundred;
  for (int i = 0; i < 4; i++) {
    ten += std::string(1, (char)(3 * i)) + std::string(3072, (char)(60 * i));
    hundred += std::string(1, (char)i) + std::string(1, (char)(33 * i)) + std::string(3072, (char)(60 * i));
  }
  seed("cifar", "ten", std::string(1, 0) + ten.substr(0, 2 * 3073));
  seed("cifar", "ten-folder", std::string(1, 4) + ten.substr(0, 3 * 3073));
  seed("cifar", "hundred", std::string(1, 2) + hundred.substr(0, 2 * 3074));
  seed("cifar", "test-only", std::string(1, 5 + 16) + ten.substr(0, 3073));
  seed("cifar", "odd", std::string(1, 0) + ten.substr(0, 3000));
}

void configurations() {
  auto verb = [](int n, bool words) { return std::string(1, (char)(2 * n + words)); };
  seed("config", "train-yaml",
       verb(0, false) +
           "model: resnet18\ndata: pictures # where\nepochs: 3\nlr: 1e-3\nbetas: [0.9, 0.999]\n"
           "save_every: 10m\ncache: 2GiB\nfreeze:\n  - layer1.*\n  - 'bn1'\nflip: true\n");
  seed("config", "train-words",
       verb(0, true) +
           "model=resnet18\ndata=./a b\n--lr\n0.1\n--steps=100\nsave_every=7\nout=r\n"
           "--flip\nfreeze=a,b*\nclass_weights=balanced\nmemory=1.5GiB\n");
  seed("config", "predict-words", verb(2, true) + "weights=run\n-\na.png\n--\n--json\nx=y\n");
  seed("config", "bench-words", verb(10, true) + "step\nmodel=resnet18,resnet50\nrivals=pytorch\n");
  seed("config", "odd-yaml",
       verb(0, false) + "a: &x 1\nb: *x\n---\nc: !t {d: [1, {e: f}]}\n? g\n: h\n\"q\\x41\": 'it''s'\n");
  seed("config", "twice", verb(1, false) + "weights: \"a\\\"b\\n\"\nweights: c\n");
  seed("config", "block", verb(1, false) + "data: |\n  two\n  lines\nweights: >\n  folded\n  text\n");
  seed("config", "unknown", verb(3, true) + "modle=resnet18\nlr=nan\nepochs=-1\nbatch=99999999999999999999\n");
}

// Form, what is asked (fuzz_text_table.c), then the file.
void texts() {
  enum { CSV, TSV, JSONL, JSON, CONLL, TXT };
  auto text = [](const char *name, int form, int ask, const std::string &file) {
    seed("text_table", name, std::string(1, (char)form) + std::string(1, (char)ask) + file);
  };
  text("csv", CSV, 0, "\xef\xbb\xbftext,label\r\nplain,a\r\n\"two\r\nlines, \"\"q\"\"\",b\r\n\r\n\xff,a\r\nx,b");
  text("csv-nul", CSV, 16, std::string("text;label\na\0b;x\n ;y\n", 21));
  text("csv-pairs", CSV, 0,
       "id,sentence1,sentence2,split,group,label\n1,a,b,train,g,x\n2,c,d,val,h,y\n3,e,f,train,,y\n");
  text("csv-named", CSV, 0x40 | 0x80 | 0x20, "a,b,x,y\np,q,0,1\nr,s,1,0\nt,u,0,0\n");
  text("csv-files", CSV, 0, "path,class\nm.csv,x\nm.tsv,y\n");
  text("csv-open", CSV, 0, "text,label\n\"a,x\nb,y\n");
  text("csv-ragged", CSV, 0, "text,label\na,x\nb\n");
  text("csv-regress", CSV, 1, "text,score\na,1.5\nb,-2e3\nc,7\n");
  text("csv-lists", CSV, 2, "text,label\na,x;y\nb,\nc,y\n");
  text("csv-predict", CSV, 4, "message\nhello\nworld\n");
  text("tsv", TSV, 0, "sentence\tlabel\n\" it 's \"\"\t1\nbad\t0\n");
  text("tsv-cola", TSV, 0, "gj04\t1\t\tOur friends.\ngj04\t0\t*\tThey friends.\n");
  text("tsv-quotes", TSV, 0, "text\tlabel\n\"two\nlines\ttab\"\ta\nplain\tb\n");
  text("tsv-tag", TSV, 3, "New York\tB\nis\tO\n\nbig\tO\n");
  text("jsonl", JSONL, 0,
       R"({"text": "a \"q\" \\ \n \u00e9 \ud83d\ude00 \ud83d \u0000!", "label": "p"})"
       "\r\n\n"
       R"({"id": 7, "e": {"d": [1, {"x": "]}"}]}, "label": "n", "text" : "b"})"
       "\n{\"text\":\"raw \xff\",\"label\":\"p\",\"n\":[1,[2]],\"b\":null}");
  text("jsonl-lists", JSONL, 0,
       R"({"text": "a", "label": []}{"text": "b", "label": ["x", "y"]}{"text":"c","label":["y"]})");
  text("jsonl-numbers", JSONL, 1,
       R"({"text": "a", "label": -1.5e3} {"text": "b", "label": 0} {"text":"c","label":true})");
  text("json-array", JSON, 0, "[{\"text\": \"a\", \"label\": 1},\n{\"text\": \"b\", \"label\": 0}]");
  text("json-nested", JSON, 0, "{\"a\": " + std::string(70, '['));
  text("json-open", JSON, 0, "[{\"text\": \"a");
  text("conll", CONLL, 0, "-DOCSTART- -X- O O\r\n\r\nEU NNP B-NP B-ORG\r\nrejects VBZ B-VP O\r\n\r\nP N I-NP B-PER\n");
  text("conll-predict", CONLL, 4, "a\nb\n\nc\n");
  text("conll-ragged", CONLL, 0, "a B\nb O\nc\n");
  text("lines", TXT, 4, "one\r\n\ntwo words");
}

// Token files and parts, sentences, and shards.
void pretraining() {
  fs::path work = fs::temp_directory_path() / "ingot-fuzz-corpus";
  fs::remove_all(work);
  fs::create_directories(work);
  const uint32_t lengths[] = {3 | CORPUS_STARTS, 2, 1 | CORPUS_STARTS, 4};
  const uint16_t ids[] = {5, 6, 7, 8, 9, 10, 11, 12, 13, 99};
  const int32_t wide[] = {5, 6, 7, 8, 9, 10, 11, 12, 13, 99};
  corpus_counts counts = {2, 4, 10, 0, 0, 4};
  for (int id_bytes : {2, 4}) {
    const std::string folder = work.string(), part = folder + "/0", whole = folder + "/whole";
    (void)!ig_corpus_part_write(part.c_str(), 0, id_bytes, &counts, lengths, id_bytes == 2 ? (const void *)ids : wide);
    corpus_header known = {};
    known.id_bytes = (uint32_t)id_bytes;
    known.n_files = 1;
    known.vocabulary = 100;
    memset(known.fingerprint, 'f', sizeof known.fingerprint);
    (void)!ig_corpus_assemble(folder.c_str(), 1, &known, (whole + ".tmp").c_str(), whole.c_str());
    for (int sealed : {0, 1})
      seed("corpus", "whole" + std::to_string(id_bytes) + "-" + std::to_string(sealed),
           std::string(1, (char)sealed) + slurp(whole));
    seed("corpus", "part" + std::to_string(id_bytes), std::string(1, 0) + slurp(part));
  }
  const char *const texts[][2] = {
      {"prose", "Mr. Smith met J. R. Jones in the U.S. The end. \"Stop!\" he said... Then 3.14 (no. 5).\n\nNew one.\n"},
      {"wrapped", "The first line is wrapped at\nforty columns or so. And the\nnext sentence ends here.\n"},
      {"lines", "a short one\nthis line is a good deal longer than that\nand a short one\n\r\n \t\nend"},
      {"wide", "\xe4\xbd\xa0\xe5\xa5\xbd\xe3\x80\x82\xe5\x86\x8d\xef\xbc\x81 \xc3\x84rger. \xc3\xbc\xff\xe3\x80"},
      {"quotes", "He said \" open . \" The next ' never ' . \" It . ( a ) . [ B ]"}};
  for (auto &t : texts)
    for (int document : {0, 1})
      seed("corpus_text", t[0] + std::string(document ? "-new" : "-on"), std::string(1, (char)document) + t[1]);
  // Edits of fuzz_bert_shard: place, length, bytes.
  seed("bert_shard", "nothing", "");
  seed("bert_shard", "empty", std::string("\1", 1));
  seed("bert_shard", "other", "\1\x89HDF\r\n\x1a\n then something else");
  seed("bert_shard", "cut", std::string("\0\0\x10\0", 4));
  for (int at = 0; at < 19000; at += 700)
    seed("bert_shard", "edit" + std::to_string(at),
         std::string(1, 0) + std::string(1, (char)at) + std::string(1, (char)(at >> 8)) +
             std::string("\4\xff\1\0\x7f", 5));
  fs::remove_all(work);
}

// Texts for fuzz_tokenizer (flags, length, text) and files for fuzz_tokenizer_json.
void tokenizers() {
  auto ask = [](int flags, int length, const std::string &text) {
    return std::string(1, (char)flags) + std::string(1, (char)length) + text;
  };
  seed("tokenizer", "words", ask(62, 0, "Ab aa [SEP] a.b \xc3\x89 \xe4\xb8\xad\xe4\xb8\xad"));
  seed("tokenizer", "pair", ask(62, 7, "a a a a\nb b b"));
  seed("tokenizer", "marks", ask(63, 0, "e\xcc\x81\xe3\x80\xae\xcc\xb4 \xf0\x9d\x85\x9f \xea\xb0\x81"));
  seed("tokenizer", "added",
       ask(1, 0,
           "a <t>  b<w>. <w>a E\xcc\x81"
           "B\xc3\x89"
           "b"));
  seed("tokenizer", "invalid", ask(60, 3, "a\xff\xe4\xb8 \xf0\x9f\x98\xed\xa0\x80 b\xc3"));
  seed("tokenizer", "long", ask(62, 0, std::string(300, 'a') + " " + std::string(40, 'b')));
  const std::string bert =
      R"({"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":true})";
  const std::string post =
      R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"[CLS]","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],)"
      R"("pair":[{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"[CLS]","type_id":0}},{"Sequence":{"id":"B","type_id":1}}],)"
      R"("special_tokens":{"[CLS]":{"id":"[CLS]","ids":[1],"tokens":["[CLS]"]}}})";
  auto file = [](const std::string &normalizer, const std::string &added, const std::string &processor) {
    return R"({"version":"1.0","truncation":null,"padding":null,"added_tokens":[)" + added + R"(],"normalizer":)" +
           normalizer + R"(,"pre_tokenizer":{"type":"BertPreTokenizer"},"post_processor":)" + processor +
           R"(,"decoder":{"type":"WordPiece","prefix":"##","cleanup":true},"model":{"type":"WordPiece","unk_token":"[UNK]",)"
           R"("continuing_subword_prefix":"##","max_input_chars_per_word":100,"vocab":{"[UNK]":0,"[CLS]":1,"a":2,"##b":3,"\u00e9":4,"cafe":5}}})";
  };
  const std::string added =
      R"({"id":1,"content":"[CLS]","special":true},{"id":6,"content":"<t>","single_word":true,"lstrip":true,"rstrip":true,"normalized":true})";
  seed("tokenizer_json", "bert", file(bert, added, post));
  seed("tokenizer_json", "plain", file("null", "", "null"));
  seed("tokenizer_json", "processing",
       file(bert, "", R"({"type":"BertProcessing","sep":["[UNK]",0],"cls":["[CLS]",1]})"));
  seed("tokenizer_json", "other", file(R"({"type":"Lowercase"})", "", "null"));
  seed("tokenizer_json", "cut", file(bert, added, post).substr(0, 300));
}

}  // namespace

int main(int argc, char **argv) {
  if (argc != 2)
    return fprintf(stderr, "usage: fuzz_seeds FOLDER\n"), 2;
  root = argv[1];
  images();
  weights();
  manifests();
  tables();
  configurations();
  texts();
  pretraining();
  tokenizers();
  return 0;
}
