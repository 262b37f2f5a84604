// Sorts and filters tables, and enlarges figures. Without it the page shows everything, unsorted.
(function () {
  "use strict";

  // What a row sorts by in one column; null where the field is empty, which comes last in either direction.
  function key(row, column, numeric) {
    const field = row.cells[column];
    const text = (field.dataset.value !== undefined ? field.dataset.value : field.textContent).trim();
    if (text === "") return null;
    if (!numeric) return text;
    const number = Number(text);
    return Number.isNaN(number) ? null : number;
  }

  function compare(a, b) {
    return typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true, sensitivity: "base" });
  }

  function sortBy(table, head) {
    const descending = head.getAttribute("aria-sort") === "ascending";
    const numeric = head.dataset.type === "number";
    const column = head.cellIndex;
    const keyed = Array.from(table.tBodies[0].rows, (row) => [key(row, column, numeric), row]);
    keyed.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return descending ? compare(b, a) : compare(a, b);
    });
    for (const other of head.parentNode.cells) {
      if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
    }
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    table.tBodies[0].append(...keyed.map(([, row]) => row));
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    for (const head of table.tHead.rows[0].cells) {
      const button = head.querySelector("button");
      if (button) button.addEventListener("click", () => sortBy(table, head));
    }
  }

  function apply(form) {
    const rows = Array.from(document.getElementById(form.dataset.table).tBodies[0].rows);
    const words = form.querySelector("input[type=search]").value.toLowerCase().split(/\s+/).filter(Boolean);
    const boxes = Array.from(form.querySelectorAll("input[name=verdict]"));
    const wanted = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const fits = words.every((word) => text.includes(word));
      row.hidden = !fits || (boxes.length > 0 && !wanted.has(row.dataset.verdict));
    }
    const shown = rows.filter((row) => !row.hidden).length;
    form.querySelector("output").textContent = `${shown} of ${rows.length} shown`;
  }

  const forms = Array.from(document.querySelectorAll("form.filter"));
  for (const form of forms) {
    form.hidden = false;
    form.addEventListener("input", () => apply(form));
    form.addEventListener("submit", (event) => event.preventDefault());
    // The fields have their first values only after the event.
    form.addEventListener("reset", () => setTimeout(() => apply(form)));
    apply(form);
  }

  const claims = document.querySelector("form[data-table=claims-table]");
  for (const tile of document.querySelectorAll(".tile[data-verdict]")) {
    tile.addEventListener("click", () => {
      for (const box of claims.querySelectorAll("input[name=verdict]")) box.checked = box.value === tile.dataset.verdict;
      claims.querySelector("input[type=search]").value = "";
      apply(claims);
    });
  }

  // A link to a claim that the filter hides shows all claims again.
  function reveal() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target || !target.hidden || target.tagName !== "TR") return;
    claims.querySelector("input[type=search]").value = "";
    for (const box of claims.querySelectorAll("input[name=verdict]")) box.checked = true;
    apply(claims);
    target.scrollIntoView();
  }
  window.addEventListener("hashchange", reveal);

  const dialog = document.getElementById("enlarged");
  for (const button of document.querySelectorAll(".enlarge")) {
    button.addEventListener("click", () => {
      const small = button.querySelector("img");
      const large = document.createElement("img");
      large.src = small.src;
      large.alt = small.alt;
      dialog.querySelector("div").replaceChildren(large);
      dialog.querySelector("p").textContent = small.alt;
      dialog.showModal();
    });
  }
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
})();
