// Writes the seed corpora: fuzz_seeds FOLDER. Rule: all of it is made here, by the libraries' own writers and by hand;
// regressions (what a fuzzer once broke) lie beside as files named found-*.
#include <filesystem>
#include <fstream>
#include <sstream>

#include "runtime/base/mem.h"
#include "runtime/ckpt/checkpoint.h"
#include "runtime/ckpt/safetensors.h"
#include "tests/image_bytes.h"

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
  tokenizers();
  return 0;
}
