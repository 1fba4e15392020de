// Updates live requests: progress bar, badge, number of shapes, failed frames. When a request
// ends, the page is loaded again.
"use strict";
const duration = (seconds) => {
  const whole = Math.ceil(seconds);
  if (whole < 120) return `${whole} s`;
  const minutes = Math.ceil(whole / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
};

const follow = (box) => {
  const bar = box.querySelector("progress");
  const words = box.querySelector(".words");
  let failed = 0;

  const show = (now) => {
    bar.max = now.total || 1;
    bar.value = now.done + now.failed + now.skipped;
    const parts = [`${now.done} done`];
    if (now.failed) parts.push(`${now.failed} failed`);
    if (now.skipped) parts.push(`${now.skipped} skipped`);
    let text = `${parts.join(", ")} of ${now.total}`;
    if (now.rate) text += ` · ${now.rate.toFixed(1)} frames/s`;
    if (now.eta_s !== null) text += ` · ${duration(now.eta_s)} to go`;
    words.textContent = text;
    const row = box.closest("[data-request]");
    const badge = row?.querySelector("[data-badge]");
    if (badge) {
      badge.textContent = now.badge.text;
      badge.className = `state ${now.badge.style}`;
    }
    const shapes = row?.querySelector("[data-shapes]");
    if (shapes) shapes.textContent = now.shapes;
    if (now.failed !== failed) {
      failed = now.failed;
      showFailures();
    }
  };

  // The table of failed frames is taken from a new copy of the page.
  const showFailures = async () => {
    const table = document.querySelector("#failures");
    if (!table) return;
    try {
      const answer = await fetch(location.href, { redirect: "error" });
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.querySelector("#failures");
      if (fresh) table.replaceWith(document.importNode(fresh, true));
    } catch {
      failed = -1; // the next answer shows them
    }
  };

  const look = async () => {
    let now;
    try {
      const answer = await fetch(box.dataset.progress, {
        headers: { Accept: "application/json" },
        redirect: "error",
      });
      if (answer.status === 404) return; // gone: the page stays as it is
      if (!answer.ok) throw new Error(answer.statusText);
      now = await answer.json();
    } catch {
      setTimeout(look, 5000); // the server is being restarted, or nobody is logged in any more
      return;
    }
    show(now);
    if (now.status === "queued" || now.status === "started") setTimeout(look, 1000);
    // Not reload(): of a page that answered a form it would send the form again.
    else location.replace(location.pathname + location.search);
  };

  setTimeout(look, 500);
};

document.querySelectorAll('.progress[data-live="1"]').forEach(follow);
