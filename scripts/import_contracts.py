"""Two kinds of contract that import-linter does not bring; named in pyproject.toml.

`only` is an allow-list: a forbidden-list of the whole third-party world would go out of date unseen.
`forbidden_from` is import-linter's own `forbidden`, but a module that is not there is a warning, not a crash of
all contracts.
"""

import sys

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output
from importlinter.contracts.forbidden import ForbiddenContract


def _is_within(module: str, packages: set[str]) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


class OnlyContract(Contract):
    """What leaves `source_modules` goes to `allowed_modules` or the standard library.

    With `among = "app"` only imports of `app` are looked at.
    """

    type_name = "only"

    source_modules = fields.SetField(subfield=fields.StringField())
    allowed_modules = fields.SetField(subfield=fields.StringField())
    among = fields.StringField(required=False)

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        offences = [
            f"{importer} -> {imported} (l.{detail['line_number']})"
            for importer in sorted(self._sources(graph))
            for imported in sorted(graph.find_modules_directly_imported_by(importer))
            if not self._allows(imported)
            for detail in graph.get_import_details(importer=importer, imported=imported)
        ]
        missing = sorted(source for source in self.source_modules if source not in graph.modules)
        return ContractCheck(
            kept=not offences,
            warnings=[f"{source} does not exist: nothing was checked." for source in missing],
            metadata={"offences": offences},
        )

    def render_broken_contract(self, check: ContractCheck) -> None:
        output.print(f"Allowed are {', '.join(sorted(self.allowed_modules))}. Not allowed:")
        for offence in check.metadata["offences"]:
            output.print_error(f"- {offence}", bold=False)

    def _sources(self, graph: ImportGraph) -> set[str]:
        return {module for module in graph.modules if _is_within(module, self.source_modules)}

    def _allows(self, imported: str) -> bool:
        if self.among and not _is_within(imported, {self.among}):
            return True
        is_stdlib = imported.partition(".")[0] in sys.stdlib_module_names
        return is_stdlib or _is_within(imported, self.allowed_modules)


class ForbiddenFromContract(ForbiddenContract):
    type_name = "forbidden_from"

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        missing = {source for source in self.source_modules if source.expression not in graph.modules}
        self.source_modules -= missing
        self.forbidden_modules = {named for named in self.forbidden_modules if named.expression in graph.modules}
        checked = super().check(graph, verbose)
        names = sorted(source.expression for source in missing)
        checked.warnings.extend(f"{name} does not exist: nothing was checked." for name in names)
        return checked
