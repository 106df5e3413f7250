#include "bench/sweep_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "base/text.h"

namespace outrider::bench {
namespace {

// Pixels.
constexpr double kWidth = 880, kHeight = 560;
constexpr double kLeft = 92, kRight = 852, kTop = 92, kBottom = 484;
constexpr double kRadius = 5;
constexpr double kLetter = 6.9, kLine = 14;  // of a label's text, which is 12 pixels high

constexpr const char* kStyle = R"(<style>
.ground{fill:#ffffff}.ink{fill:#1f2328}.soft{fill:#59636e}.grid{stroke:#d8dee4}.axis{stroke:#59636e}
.front{fill:none;stroke:#0969da;stroke-width:2}.on{fill:#0969da;stroke:#ffffff}.off{fill:#ffffff;stroke:#8c959f;stroke-width:2}
.name{fill:#1f2328}.tie{stroke:#8c959f}.ring{fill:none;stroke:#bc4c00;stroke-width:2}.scene{fill:#bc4c00;font-weight:600}
@media (prefers-color-scheme:dark){
.ground{fill:#0d1117}.ink{fill:#f0f6fc}.soft{fill:#9198a1}.grid{stroke:#2f353d}.axis{stroke:#9198a1}
.front{stroke:#58a6ff}.on{fill:#58a6ff;stroke:#0d1117}.off{fill:#0d1117;stroke:#7d8590}
.name{fill:#f0f6fc}.tie{stroke:#7d8590}.ring{stroke:#f0883e}.scene{fill:#f0883e}}
</style>
)";

struct Box {
  double x0, y0, x1, y1;
};

double overlap(const Box& a, const Box& b) {
  const double width = std::min(a.x1, b.x1) - std::max(a.x0, b.x0);
  const double height = std::min(a.y1, b.y1) - std::max(a.y0, b.y0);
  return width > 0 && height > 0 ? width * height : 0;
}

struct Mark {
  size_t point = 0;
  double x = 0, y = 0;
  bool on_front = false;
  std::string name;      // its settings
  std::string scenario;  // what it is best at; may be empty
};

std::string escape(std::string text) {
  std::ranges::replace_if(
      text, [](unsigned char c) { return c < 0x20; }, ' ');
  return escape_markup(text, "&quot;");
}

std::string text_at(double x, double y, const char* style, const char* anchor, const std::string& text) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"{}\" text-anchor=\"{}\">{}</text>\n", x, y,
                     style, anchor, escape(text));
}

std::string line(double x0, double y0, double x1, double y1, const char* style) {
  return fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" class=\"{}\"/>\n", x0, y0,
                     x1, y1, style);
}

// What the names of the points tell: only what differs between them.
struct Naming {
  bool with_tp = false, with_concurrency = false;

  explicit Naming(const std::vector<SweepPoint>& points) {
    for (const SweepPoint& point : points) {
      with_tp = with_tp || point.at.tensor_parallel_size != points[0].at.tensor_parallel_size;
      with_concurrency = with_concurrency || point.at.concurrency != point.at.max_num_seqs;
    }
  }
  std::string name(const GridPoint& at) const {
    std::string text = with_tp ? fmt::format("TP{} · ", at.tensor_parallel_size) : "";
    text += std::to_string(at.max_num_seqs);
    return with_concurrency ? text + " / " + std::to_string(at.concurrency) : text;
  }
  std::string legend() const {
    std::string text = with_tp ? "TP · max-num-seqs" : "max-num-seqs";
    return text + (with_concurrency ? " / concurrency" : " = concurrency");
  }
};

class Plot {
 public:
  Plot(const SweepNames& names, const std::vector<SweepPoint>& points)
      : names_(names), points_(points), naming_(points) {
    double tpot = 0, throughput = 0;
    for (const SweepPoint& point : points) {
      if (!point.ok()) continue;
      tpot = std::max(tpot, point.tpot_ms());
      throughput = std::max(throughput, point.throughput_per_gpu());
    }
    x_ticks_ = axis_ticks(tpot);
    y_ticks_ = axis_ticks(throughput);
    place_marks();
  }

  std::string draw() {
    std::string out = fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" "
        "font-family=\"system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif\" font-size=\"12\" "
        "role=\"img\">\n"
        "<title>{2}</title>\n{3}<rect width=\"{0}\" height=\"{1}\" class=\"ground\"/>\n",
        kWidth, kHeight, escape(title()), kStyle);
    out += fmt::format("<g font-size=\"17\" font-weight=\"600\">{}</g>",
                       text_at(kLeft, 34, "ink", "start", title()));
    out +=
        text_at(kLeft, 55, "soft", "start",
                fmt::format("{}, {}; up and to the left is better", names_.device, names_.date.substr(0, 8)));
    out += axes() + legend() + front() + marks() + labels();
    return out + "</svg>\n";
  }

 private:
  std::string title() const { return names_.model + ": throughput against time per token"; }

  double x_of(double tpot) const { return kLeft + (kRight - kLeft) * tpot / x_ticks_.back(); }
  double y_of(double rate) const { return kBottom - (kBottom - kTop) * rate / y_ticks_.back(); }

  void place_marks() {
    const std::vector<size_t> front = pareto_front(points_);
    const std::optional<Scenarios> best = find_scenarios(points_);
    for (size_t i = 0; i < points_.size(); ++i) {
      const SweepPoint& point = points_[i];
      if (!point.ok()) continue;
      Mark mark{i, x_of(point.tpot_ms()), y_of(point.throughput_per_gpu())};
      mark.on_front = std::ranges::find(front, i) != front.end();
      mark.name = naming_.name(point.at);
      const auto add = [&](bool is_best, const char* what) {
        if (is_best) mark.scenario += (mark.scenario.empty() ? "" : ", ") + std::string(what);
      };
      add(best && best->max_throughput == i, "max throughput");
      add(best && best->min_latency == i, "min latency");
      add(best && best->balanced == i, "balanced");
      marks_.push_back(std::move(mark));
    }
    // Labels find their places in this order: the front first.
    std::ranges::stable_sort(marks_, [](const Mark& a, const Mark& b) {
      return a.scenario.empty() != b.scenario.empty() ? !a.scenario.empty() : a.on_front > b.on_front;
    });
  }

  std::string axes() const {
    std::string out;
    for (const double tick : x_ticks_) {
      out += line(x_of(tick), kTop, x_of(tick), kBottom, "grid");
      out += text_at(x_of(tick), kBottom + 20, "soft", "middle", fmt::format("{:g}", tick));
    }
    for (const double tick : y_ticks_) {
      out += line(kLeft, y_of(tick), kRight, y_of(tick), "grid");
      out += text_at(kLeft - 10, y_of(tick) + 4, "soft", "end", fmt::format("{:g}", tick));
    }
    out += line(kLeft, kBottom, kRight, kBottom, "axis") + line(kLeft, kTop, kLeft, kBottom, "axis");
    out += "<g font-size=\"14\">";
    out += text_at((kLeft + kRight) / 2, kBottom + 46, "ink", "middle",
                   "Median time per output token, TPOT (ms)");
    const double middle = (kTop + kBottom) / 2;
    out += fmt::format("<g transform=\"rotate(-90 26 {0:.1f})\">{1}</g></g>\n", middle,
                       text_at(26, middle, "ink", "middle",
                               names_.device == "CPU" ? "Output throughput (tokens/s)"
                                                      : "Output throughput per GPU (tokens/s)"));
    return out;
  }

  std::string legend() const {
    constexpr double kY = 76;
    std::string out =
        line(kLeft, kY - 4, kLeft + 26, kY - 4, "front") +
        fmt::format("<circle cx=\"{}\" cy=\"{}\" r=\"{}\" class=\"on\"/>", kLeft + 13, kY - 4, kRadius);
    out += text_at(kLeft + 34, kY, "ink", "start", "Pareto front");
    out += fmt::format("<circle cx=\"{}\" cy=\"{}\" r=\"{}\" class=\"off\"/>", kLeft + 136, kY - 4, kRadius);
    out += text_at(kLeft + 148, kY, "ink", "start", "beaten by another");
    out += fmt::format("<circle cx=\"{}\" cy=\"{}\" r=\"{}\" class=\"ring\"/>", kLeft + 278, kY - 4,
                       kRadius + 3);
    out += text_at(kLeft + 292, kY, "ink", "start", "best of a scenario");
    return out + text_at(kRight, kY, "soft", "end", "labels: " + naming_.legend());
  }

  std::string front() const {
    std::string corners;
    for (const size_t i : pareto_front(points_)) {
      corners += fmt::format("{}{:.1f},{:.1f}", corners.empty() ? "" : " ", x_of(points_[i].tpot_ms()),
                             y_of(points_[i].throughput_per_gpu()));
    }
    return "<polyline points=\"" + corners + "\" class=\"front\"/>\n";
  }

  std::string marks() const {
    std::string out;
    for (const Mark& mark : marks_) {
      const SweepPoint& point = points_[mark.point];
      if (!mark.scenario.empty()) {
        out += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\" class=\"ring\"/>\n", mark.x, mark.y,
                           kRadius + 3);
      }
      out += fmt::format(
          "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\" class=\"{}\" "
          "data-point=\"{}\"><title>--tensor-parallel-size {} "
          "--max-num-seqs {}, concurrency {}: {:.2f} tokens/s per GPU, TPOT {:.2f} ms</title></circle>\n",
          mark.x, mark.y, kRadius, mark.on_front ? "on" : "off", mark.point, point.at.tensor_parallel_size,
          point.at.max_num_seqs, point.at.concurrency, point.throughput_per_gpu(), point.tpot_ms());
    }
    return out;
  }

  // Each label where it covers the least of what is there already, near its mark; a line where it is not next
  // to it.
  std::string labels() const {
    std::vector<Box> taken = front_boxes();
    for (const Mark& mark : marks_) {
      constexpr double kAround = kRadius + 4;
      taken.push_back({mark.x - kAround, mark.y - kAround, mark.x + kAround, mark.y + kAround});
    }
    std::string out;
    for (const Mark& mark : marks_) {
      const double letters = static_cast<double>(std::max(mark.name.size(), mark.scenario.size()));
      const double width = letters * kLetter, height = kLine * (mark.scenario.empty() ? 1 : 2);
      const Box box = find_place(mark, width, height, taken);
      taken.push_back(box);
      const bool is_left = box.x1 < mark.x;
      const double x = is_left ? box.x1 : box.x0;
      const char* anchor = is_left ? "end" : "start";
      const double near_x = is_left ? box.x1 + 2 : box.x0 - 2, near_y = (box.y0 + box.y1) / 2;
      constexpr double kNear = 3 * kRadius + 4;
      if (std::hypot(near_x - mark.x, near_y - mark.y) > kNear) {
        out += line(mark.x, mark.y, near_x, near_y, "tie");
      }
      out += text_at(x, box.y0 + 11, "name", anchor, mark.name);
      if (!mark.scenario.empty()) out += text_at(x, box.y0 + 11 + kLine, "scene", anchor, mark.scenario);
    }
    return out;
  }

  // The front's line as a row of small boxes, for labels to keep off.
  std::vector<Box> front_boxes() const {
    constexpr double kSize = 4;
    std::vector<Box> boxes;
    const std::vector<size_t> front = pareto_front(points_);
    for (size_t i = 1; i < front.size(); ++i) {
      const SweepPoint &from = points_[front[i - 1]], &to = points_[front[i]];
      const double x0 = x_of(from.tpot_ms()), x1 = x_of(to.tpot_ms());
      const double y0 = y_of(from.throughput_per_gpu()), y1 = y_of(to.throughput_per_gpu());
      const double steps = std::ceil(std::hypot(x1 - x0, y1 - y0) / kSize);
      for (double k = 1; k < steps; ++k) {
        const double x = x0 + (x1 - x0) * k / steps, y = y0 + (y1 - y0) * k / steps;
        boxes.push_back({x - kSize / 2, y - kSize / 2, x + kSize / 2, y + kSize / 2});
      }
    }
    return boxes;
  }

  static Box find_place(const Mark& mark, double width, double height, std::span<const Box> taken) {
    constexpr double kReach[] = {12, 26, 44, 66, 92};
    constexpr double kSlopes[] = {0, -0.5, 0.5, -0.87, 0.87, -1, 1};  // sines: level, then up and down
    Box best{};
    double least = HUGE_VAL;
    for (const double reach : kReach) {
      for (const double sine : kSlopes) {
        for (const double side : {-1.0, 1.0}) {
          const double x = mark.x + side * reach * std::max(0.25, std::sqrt(1 - sine * sine));
          const double y = mark.y + sine * (reach + height / 4);
          const Box box = {side < 0 ? x - width : x, y - height / 2, side < 0 ? x : x + width,
                           y + height / 2};
          const double inside = overlap(box, {kLeft + 2, kTop, kWidth - 4, kBottom - 2});
          double cost = 10 * (width * height - inside) + 6 * reach;
          for (const Box& other : taken) cost += 4 * overlap(box, other);
          if (cost < least) {
            least = cost;
            best = box;
          }
        }
      }
    }
    return best;
  }

  const SweepNames& names_;
  const std::vector<SweepPoint>& points_;
  const Naming naming_;
  std::vector<double> x_ticks_, y_ticks_;
  std::vector<Mark> marks_;
};

}  // namespace

std::vector<double> axis_ticks(double largest) {
  constexpr double kMost = 6;  // steps
  if (!(largest > 0)) largest = 1;
  const double rough = largest / kMost;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double digit : {1.0, 2.0, 2.5, 5.0}) {
    if (digit * power >= rough) {
      step = digit * power;
      break;
    }
  }
  std::vector<double> ticks = {0};
  while (ticks.back() < largest) ticks.push_back(static_cast<double>(ticks.size()) * step);
  return ticks;
}

std::string sweep_svg(const SweepNames& names, const std::vector<SweepPoint>& points) {
  return Plot(names, points).draw();
}

}  // namespace outrider::bench
