"use strict";
(() => {
  const form = document.querySelector("form");
  const rows = [...document.querySelectorAll("[data-verdict]")];
  const output = document.querySelector("output");
  const apply = () => {
    const wanted = new FormData(form);
    const text = (wanted.get("text") || "").toString().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      const fits = ["layer", "verdict", "os"].every((name) => {
        const value = wanted.get(name);
        return !value || (row.dataset[name] || "").split(" ").includes(value);
      });
      const named = !text || row.dataset.text.toLowerCase().includes(text);
      const differs = !wanted.get("differs") || row.dataset.differs === "yes";
      row.hidden = !(fits && named && differs);
      shown += row.hidden ? 0 : 1;
    }
    for (const group of document.querySelectorAll("[data-group]")) {
      group.hidden = !group.querySelector("[data-verdict]:not([hidden])");
    }
    output.textContent = shown + " of " + rows.length + " shown";
  };
  const open = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.tagName === "DETAILS") {
      if (target.closest("[hidden]")) { form.reset(); apply(); }
      target.open = true;
      target.scrollIntoView();
    }
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(apply));
  window.addEventListener("hashchange", open);
  form.hidden = false;
  apply();
  open();
})();
