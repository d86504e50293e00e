"use strict";
// Sorting is all that needs a script; without it every table is there in its first order.
(() => {
  const said = document.getElementById("sorted");
  const valueOf = (row, column, numeric) => {
    const cell = row.cells[column];
    const text = cell.dataset.sort ?? cell.textContent.trim();
    if (!numeric) return text;
    const number = Number(text.replaceAll(",", ""));
    return text === "" || Number.isNaN(number) ? null : number;
  };
  const compare = (a, b) =>
    typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
  const sort = (table, heading, column) => {
    const numeric = heading.classList.contains("number");
    const down = heading.getAttribute("aria-sort") === "ascending";
    for (const other of table.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0];
    const keyed = [...body.rows].map((row) => [valueOf(row, column, numeric), row]);
    // What is unknown stands last, whichever way the rest is sorted.
    const known = keyed.filter(([key]) => key !== null && key !== "");
    const unknown = keyed.filter(([key]) => key === null || key === "");
    known.sort(([a], [b]) => (down ? compare(b, a) : compare(a, b)));
    body.append(...[...known, ...unknown].map(([, row]) => row));
    said.textContent = `Sorted by ${heading.dataset.title}, ${down ? "descending" : "ascending"}.`;
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      // Beside the text, not around it: browsers do not print buttons in a repeated heading.
      const button = document.createElement("button");
      button.type = "button";
      heading.dataset.title = heading.textContent;
      button.setAttribute("aria-label", `Sort by ${heading.textContent}`);
      heading.append("\u00a0", button);
      heading.addEventListener("click", () => sort(table, heading, column));
    });
  }
})();
