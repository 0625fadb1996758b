// Links the charts with the playback: a line shows the present time, a click on a chart goes there.
(() => {
  "use strict";
  const player = document.querySelector("iframe.player");

  // The player has no interface of its own for this; its slider tells the time, and its field takes one.
  const inside = (selector) => {
    try {
      return player.contentDocument.querySelector(selector);
    } catch {
      return null;
    }
  };

  const seek = (time) => {
    const field = inside("input");
    if (!field) return;
    const { set } = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(field), "value");
    set.call(field, String(Math.max(0, time)));
    field.dispatchEvent(new Event("input", { bubbles: true }));
  };

  const charts = () => (window.Bokeh ? Bokeh.documents[0] : undefined);

  let shown = -1;
  const follow = () => {
    const slider = inside("[role=slider]");
    const cursor = charts()?.get_model_by_name("cursor");
    const time = slider ? Number(slider.getAttribute("aria-valuenow")) : NaN;
    if (cursor && Number.isFinite(time) && time !== shown) {
      shown = time;
      cursor.location = time;
    }
  };

  if (player) {
    window.addEventListener("seek", (event) => seek(event.detail));
    window.setInterval(follow, 50);
  }

  // A finger that moves over a chart scrolls the page.
  const ready = window.setInterval(() => {
    const document_ = charts();
    if (!document_) return;
    window.clearInterval(ready);
    if (window.matchMedia("(pointer: coarse)").matches) {
      for (const plot of document_.roots()) plot.toolbar.active_drag = null;
    }
    for (const choice of document.querySelectorAll("select[data-chart]")) {
      const plot = document_.roots()[Number(choice.dataset.chart)];
      choice.addEventListener("change", () => {
        plot.tags[0].start = Number(choice.value);
      });
      choice.dispatchEvent(new Event("change")); // a browser may restore what was chosen before
    }
  }, 50);
})();
