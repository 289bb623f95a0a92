"""The export panel: the selection as files, code, a recipe and a command."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anywidget
import ipywidgets as w
import traitlets

from .. import exports
from ..core import tables
from ..exports import code, rows
from ..selection import Selection
from .markup import status
from .tasks import ErrorPanel

_ORIGIN, _TABLE = "the source of the rows", "the table, saved as a file"


class ExportPanel(w.VBox):
    """Writes the kept rows to files, and shows code, recipe and command that reproduce the selection.

    Call `refresh` when the selection changes, to update the texts that are open.

    Parameters
    ----------
    selected : returns the current selection.
    settings : returns {"pack": arguments of `wb.pack`, "cluster": those of `wb.cluster` or None}; either may
        be missing. The arguments of `wb.select` come from the selection.
    errors : the panel that shows exceptions.
    folder : where the files are written, one sub-folder per format.
    """

    def __init__(
        self,
        selected: Callable[[], Selection],
        settings: Callable[[], dict],
        errors: ErrorPanel,
        folder: str | Path = "exports/workbench",
    ):
        self._selected, self._settings, self._saved = selected, settings, None
        wide, narrow = {"description_width": "initial"}, w.Layout(width="auto")
        self.folder = w.Text(
            str(folder),
            description="Folder",
            continuous_update=False,
            style=wide,
            layout=w.Layout(width="24em"),
        )
        self.format = w.Dropdown(
            options=list(rows.FILES), value="messages", description="Format", style=wide, layout=narrow
        )
        self.write = w.Button(description="Write the kept rows", icon="save", layout=narrow)
        self.start = w.Dropdown(
            options=[_ORIGIN, _TABLE], description="Code starts from", style=wide, layout=narrow
        )
        self.save_table = w.Button(description="Save the table", layout=narrow)
        self.show = w.Button(description="Show code, recipe and command", icon="code", layout=narrow)
        self.save_recipe = w.Button(description="Save the recipe", layout=narrow)
        self.line = w.HTML()
        self.code = Snippet(title="Code", name="selection.py")
        self.recipe = Snippet(title="Recipe", name="recipe.yaml")
        self.command = Snippet(title="Command line, from the saved recipe", name="selection.sh")
        self.texts = w.VBox([self.code, self.recipe, self.save_recipe, self.command])
        self.texts.layout.display = "none"
        for button, action in (
            (self.write, self._write),
            (self.save_table, self._save_table),
            (self.show, self._open),
            (self.save_recipe, self._save_recipe),
        ):
            button.on_click(errors.guard(lambda _, action=action: action()))
        for control in (self.start, self.folder):
            control.observe(errors.guard(lambda change: self.refresh()), "value")
        wrap = w.Layout(flex_flow="row wrap")
        super().__init__(
            [
                w.HTML('<b style="font-size:1.15em">Export the selection</b>'),
                w.HBox([self.folder, self.format, self.write], layout=wrap),
                w.HBox([self.start, self.save_table, self.show], layout=wrap),
                self.line,
                self.texts,
            ]
        )
        self.add_class("workbench-export")

    def refresh(self) -> None:
        """Update the texts for the current selection, if they are open."""
        if self.texts.layout.display == "none":
            return
        selection, pack = self._now()
        source, reads = selection.source, code.ranked_by(selection)
        if self.start.value == _ORIGIN and code.origin_of(source, reads) is None:
            self.start.value = _TABLE  # its observer calls this method again
            return
        saved = self._saved == self._state(selection)
        table = None if self.start.value == _ORIGIN else self._path("table.parquet")
        if table and not saved:
            self.code.text = self.recipe.text = self.command.text = ""
            self._say(
                "The code starts from a file of the table, which is not saved yet: save the table first."
            )
            return
        for_recipe = table or (None if code.replayable(source, reads) else self._path("table.parquet"))
        self.code.text = code.as_code(selection, pack, table)
        self.recipe.text = str(code.as_recipe(selection, pack, for_recipe))
        self.command.text = code.as_command(self._path("recipe.yaml"), self._path("selection.jsonl"))
        report = selection.report
        needs = "" if saved or not for_recipe else f"; the recipe reads {for_recipe}: save the table first"
        self._say(f"{report.n_kept:,} of {report.n_rows:,} rows{needs}")

    def _now(self) -> tuple[Selection, dict]:
        """The current selection, with its clustering noted, and the arguments of `wb.pack`."""
        selection, settings = self._selected(), self._settings()
        clusters = settings.get("cluster")
        noted = tables.noted(selection.source, "cluster")
        if clusters and not clusters.items() <= noted.items():
            selection = replace(selection, source=tables.note(selection.source, "cluster", clusters))
        return selection, settings.get("pack") or {}

    def _state(self, selection: Selection) -> tuple:
        """What must not have changed since the table was saved."""
        return self.folder.value, tables.notes(selection.source), tables.ids_digest(selection.source)

    def _open(self) -> None:
        self.texts.layout.display = None
        self.refresh()

    def _write(self) -> None:
        selection, _ = self._now()
        folder = exports.export(selection, self._path(self.format.value), self.format.value)
        self._say(f"wrote {selection.report.n_kept:,} rows to {folder}")

    def _save_table(self) -> None:
        selection, _ = self._now()
        path = self._path("table.parquet", create=True)
        tables.write_parquet(selection.source, path)
        self._saved = self._state(selection)
        self.refresh()
        self._say(f"wrote all {len(selection.source):,} rows to {path}")

    def _save_recipe(self) -> None:
        self.refresh()
        if not self.recipe.text:
            return
        path = self._path("recipe.yaml", create=True)
        path.write_text(self.recipe.text, encoding="utf-8")
        self._say(f"wrote {path}")

    def _path(self, name: str, create: bool = False) -> Path:
        """The path of `name` in the folder; `create` the folder if it does not exist."""
        folder = Path(self.folder.value).expanduser()
        if create:
            folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    def _say(self, sentence: str) -> None:
        self.line.value = status(sentence)


class Snippet(anywidget.AnyWidget):
    """A read-only `text` under its `title`, with buttons to copy it or to download it as the file `name`."""

    title = traitlets.Unicode().tag(sync=True)
    name = traitlets.Unicode().tag(sync=True)
    text = traitlets.Unicode().tag(sync=True)

    _esm = """
    export default {
      render({ model, el }) {
        el.classList.add("workbench-snippet");
        const head = document.createElement("div");
        const title = document.createElement("b");
        const field = document.createElement("textarea");
        const state = document.createElement("span");
        state.setAttribute("role", "status");
        title.textContent = model.get("title") + " ";
        field.readOnly = true;
        field.spellcheck = false;
        field.setAttribute("aria-label", model.get("title"));
        field.style.cssText = "width:100%;box-sizing:border-box;white-space:pre;overflow:auto;"
          + "font:13px/1.5 var(--jp-code-font-family,monospace);background:transparent;color:inherit";
        const button = (label, action) => {
          const element = document.createElement("button");
          element.className = "jupyter-button";
          element.textContent = label;
          element.addEventListener("click", action);
          return element;
        };
        const copy = button("Copy", async () => {
          try {
            await navigator.clipboard.writeText(field.value);
          } catch {  // no permission, or a page without https
            field.select();
            document.execCommand("copy");
          }
          state.textContent = "copied";
        });
        const download = button("Download", () => {
          const link = document.createElement("a");
          link.href = URL.createObjectURL(new Blob([field.value], { type: "text/plain" }));
          link.download = model.get("name");
          link.click();
          URL.revokeObjectURL(link.href);
        });
        const show = () => {
          field.value = model.get("text");
          field.rows = Math.min(20, field.value.split("\\n").length);
          state.textContent = "";
        };
        model.on("change:text", show);
        show();
        head.append(title, copy, download, state);
        el.append(head, field);
        return () => model.off("change:text", show);
      },
    };
    """
