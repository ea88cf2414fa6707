// The rules of this tree that a machine can hold. Each test prints every place that breaks its rule.
package klined_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"klined/health"
)

// mayImport is which of our packages each package may import. ARCHITECTURE.md says why.
var mayImport = map[string]string{
	"fixed":      "",
	"market":     "fixed",
	"health":     "",
	"clock":      "market",
	"tape":       "",
	"binance":    "market fixed health clock",
	"engine":     "market fixed",
	"feed":       "market health clock engine",
	"store":      "market fixed health",
	"history":    "market fixed health clock",
	"serve":      "market fixed health clock",
	"sim":        "market fixed tape",
	"bench":      "fixed market health binance engine feed store serve",
	"cmd/klined": "fixed market health clock tape binance engine feed store history serve sim bench",
}

// mayNotImport is what some packages stay free of beyond that: by path, or by its beginning before a *.
var mayNotImport = map[string]string{
	"fixed":  "os io io/* net net/* log log/* encoding/* time sync",
	"market": "os io io/* net net/* log log/* encoding/*",
	"engine": "os io io/* net net/* log log/* encoding/* time sync sync/* strings context math/rand*",
}

// onlyIn is which packages alone may import something.
var onlyIn = map[string]string{
	"database/sql":                "store bench",
	"modernc.org/sqlite":          "store bench",
	"github.com/spf13/*":          "cmd/klined",
	"github.com/pelletier/*":      "cmd/klined",
	"github.com/klauspost/*":      "tape binance serve sim cmd/klined",
	"github.com/parquet-go/*":     "cmd/klined",
	"github.com/gobwas/*":         "binance serve sim bench",
	"github.com/gorilla/*":        "bench",
	"github.com/prometheus/*":     "health binance feed store serve clock history bench cmd/klined",
	"github.com/govalues/decimal": "",
	"unsafe":                      "",
}

// venueWords stand in the texts of those packages only that speak the exchange's language. cmd/klined shows in its help
// where klined itself speaks it.
var venueWords = map[string]string{
	"binance.com":    "binance serve sim",
	"binance.vision": "binance serve sim",
	"/fapi/":         "binance serve sim bench cmd/klined",
	"@kline":         "binance serve sim bench cmd/klined",
	"@aggTrade":      "binance serve sim bench",
	"@trade":         "binance serve sim",
	`"e":"`:          "binance serve sim bench",
	"SUBSCRIBE":      "binance serve sim bench",
	"X-MBX":          "binance serve sim",
}

// The sizes of rooms and corridors.
const (
	longestFunction = 60 // lines
	longFunction    = 40 // nine functions in ten are shorter
	longestFile     = 400
)

// source is one Go file that is not a test.
type source struct {
	path string // "engine/apply.go"
	pkg  string // "engine"
	*ast.File
	lines int
}

// sources parses the whole tree.
func sources(t *testing.T) (*token.FileSet, []source) {
	t.Helper()
	fset := token.NewFileSet()
	var all []source
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{"tools", "bin", "node_modules", "testdata"}, d.Name())):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(fset, path, text, parser.ParseComments)
		if err != nil {
			return err
		}
		path = filepath.ToSlash(path)
		all = append(all, source{path, filepath.ToSlash(filepath.Dir(path)), file, strings.Count(string(text), "\n")})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("no sources here")
	}
	return fset, all
}

// matches reports whether name is in a list of words, of which some end in * and stand for all that begin so.
func matches(name, list string) bool {
	for word := range strings.FieldsSeq(list) {
		if prefix, open := strings.CutSuffix(word, "*"); word == name || open && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// TestLogTargets: which part a log line is of is said once for the logger, never in the line, and is one of those that
// there are.
func TestLogTargets(t *testing.T) {
	fset, all := sources(t)
	targets := strings.Join(health.Targets(), " ")
	for _, f := range all {
		ast.Inspect(f.File, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			name := ""
			switch fun := call.Fun.(type) {
			case *ast.SelectorExpr:
				name = fun.Sel.Name
			case *ast.Ident:
				name = fun.Name
			}
			for i, arg := range call.Args {
				key := textOf(arg)
				switch {
				case name == "logOrNone" && i == 1 && f.pkg == "binance":
					if !matches(key, targets) {
						t.Errorf("%s: no such target as %q", fset.Position(call.Pos()), key)
					}
				case key == "target" && (name != "With" || i != 0 || len(call.Args) < 2 || !isTarget(call.Args[1], targets)):
					t.Errorf("%s: want log.With(\"target\", one of %s)", fset.Position(call.Pos()), targets)
				}
			}
			return true
		})
	}
}

// isTarget reports whether an expression is a target, or the word that a function got as one.
func isTarget(e ast.Expr, targets string) bool {
	id, named := e.(*ast.Ident)
	return named && id.Name == "target" || matches(textOf(e), targets)
}

// textOf is the value of a text constant; "" for all else.
func textOf(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	text, _ := strconv.Unquote(lit.Value)
	return text
}

func TestImports(t *testing.T) {
	_, all := sources(t)
	for _, f := range all {
		allowed, known := mayImport[f.pkg]
		if !known {
			t.Errorf("%s: package %s is not in the table", f.path, f.pkg)
			continue
		}
		for _, spec := range f.Imports {
			path, _ := strconv.Unquote(spec.Path.Value)
			if ours, ok := strings.CutPrefix(path, "klined/"); ok && !matches(ours, allowed) {
				t.Errorf("%s imports %s", f.path, path)
			}
			if matches(path, mayNotImport[f.pkg]) {
				t.Errorf("%s imports %s", f.path, path)
			}
			for what, where := range onlyIn {
				if matches(path, what) && !matches(f.pkg, where) {
					t.Errorf("%s imports %s, which belongs to %q", f.path, path, where)
				}
			}
		}
	}
}

// TestPackageLines: each package says in its first file, in one place, what it is.
func TestPackageLines(t *testing.T) {
	_, all := sources(t)
	said := map[string]int{}
	for _, f := range all {
		begin := "Package " + f.Name.Name + " "
		if f.Name.Name == "main" {
			begin = "Command " + filepath.Base(f.pkg) + " "
		}
		said[f.pkg] += 0
		if f.Doc == nil {
			continue
		}
		if said[f.pkg]++; !strings.HasPrefix(f.Doc.Text(), begin) {
			t.Errorf("%s: the package's comment does not begin with %q", f.path, begin)
		}
	}
	for pkg, n := range said {
		if n != 1 {
			t.Errorf("package %s says %d times what it is", pkg, n)
		}
	}
}

func TestVenueStaysInItsRoom(t *testing.T) {
	fset, all := sources(t)
	for _, f := range all {
		ast.Inspect(f.File, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			text, _ := strconv.Unquote(lit.Value)
			for word, where := range venueWords {
				if strings.Contains(text, word) && !matches(f.pkg, where) {
					t.Errorf("%s: %q", fset.Position(lit.Pos()), word)
				}
			}
			return true
		})
	}
}

// TestStopsInMain: the process ends in main.go alone, and nothing runs before main.
func TestStopsInMain(t *testing.T) {
	fset, all := sources(t)
	for _, f := range all {
		ast.Inspect(f.File, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Name.Name == "init" && n.Recv == nil {
					t.Errorf("%s: func init", fset.Position(n.Pos()))
				}
			case *ast.SelectorExpr:
				x, _ := n.X.(*ast.Ident)
				switch {
				case x == nil:
				case x.Name == "log" && (strings.HasPrefix(n.Sel.Name, "Fatal") || strings.HasPrefix(n.Sel.Name, "Panic")),
					x.Name == "os" && n.Sel.Name == "Exit" && f.path != "cmd/klined/main.go":
					t.Errorf("%s: %s.%s", fset.Position(n.Pos()), x.Name, n.Sel.Name)
				}
			}
			return true
		})
	}
}

// TestEngineIsBlind: besides what it may not import, the engine has no map, no channel and no goroutine.
func TestEngineIsBlind(t *testing.T) {
	fset, all := sources(t)
	for _, f := range all {
		if f.pkg != "engine" {
			continue
		}
		ast.Inspect(f.File, func(n ast.Node) bool {
			switch n.(type) {
			case *ast.MapType, *ast.ChanType, *ast.GoStmt:
				t.Errorf("%s: %T", fset.Position(n.Pos()), n)
			}
			return true
		})
	}
}

func TestSizes(t *testing.T) {
	fset, all := sources(t)
	functions, long := 0, []string{}
	for _, f := range all {
		if f.lines > longestFile {
			t.Errorf("%s: %d lines, at most %d", f.path, f.lines, longestFile)
		}
		for _, decl := range f.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			functions++
			begin := fset.Position(fn.Pos())
			lines := fset.Position(fn.End()).Line - begin.Line + 1
			if lines > longestFunction {
				t.Errorf("%s: %s has %d lines, at most %d", begin, fn.Name.Name, lines, longestFunction)
			}
			if lines >= longFunction {
				long = append(long, begin.String()+" "+fn.Name.Name)
			}
		}
	}
	if len(long)*10 > functions {
		t.Errorf("%d of %d functions have %d lines or more:\n%s", len(long), functions, longFunction, strings.Join(long, "\n"))
	}
}

// checked is a package with what its names stand for. Names of packages other than fixed and market are unknown; that
// is no error here.
type checked struct {
	types *types.Package
	info  *types.Info
	files []source
}

// loader checks packages and is their importer.
type loader struct {
	fset *token.FileSet
	all  []source
	done map[string]*checked
}

func (l *loader) check(pkg string) *checked {
	if c := l.done[pkg]; c != nil {
		return c
	}
	c := &checked{info: &types.Info{Uses: map[*ast.Ident]types.Object{}, Selections: map[*ast.SelectorExpr]*types.Selection{}}}
	var files []*ast.File
	for _, f := range l.all {
		if f.pkg == pkg {
			c.files, files = append(c.files, f), append(files, f.File)
		}
	}
	config := types.Config{Importer: l, Error: func(error) {}}
	c.types, _ = config.Check("klined/"+pkg, l.fset, files, c.info)
	l.done[pkg] = c
	return c
}

// Import gives fixed and market as they are, and an empty package for any other.
func (l *loader) Import(path string) (*types.Package, error) {
	if path == "klined/market" || path == "klined/fixed" {
		return l.check(strings.TrimPrefix(path, "klined/")).types, nil
	}
	pkg := types.NewPackage(path, filepath.Base(path))
	pkg.MarkComplete()
	return pkg, nil
}

// simForbidden is what the simulated exchange computes by itself, or it would be judge in its own cause.
const simForbidden = `Merge Fold Better EmptyKline ParseInterval ExchangeIntervals Kline.Add Interval.Ordinal Interval.OpenAt
	Interval.Open Interval.Ceil Interval.Next Interval.Count Interval.OnExchange`

func TestSimComputesByItself(t *testing.T) {
	fset, all := sources(t)
	l := &loader{fset, all, map[string]*checked{}}
	if l.check("market").types.Scope().Lookup("Fold") == nil {
		t.Fatal("market.Fold is not found: this test sees nothing")
	}
	for ident, object := range l.check("sim").info.Uses {
		if object.Pkg() == nil || object.Pkg().Path() != "klined/market" {
			continue
		}
		name := object.Name()
		if fn, ok := object.(*types.Func); ok {
			if recv := fn.Signature().Recv(); recv != nil {
				name = types.TypeString(recv.Type(), func(*types.Package) string { return "" }) + "." + name
			}
		}
		if matches(strings.TrimPrefix(name, "*"), simForbidden) {
			t.Errorf("%s: market's %s", fset.Position(ident.Pos()), name)
		}
	}
}

// TestNoPackageState: package variables are tables, sentinels and defaults; nothing assigns to them.
func TestNoPackageState(t *testing.T) {
	fset, all := sources(t)
	l := &loader{fset, all, map[string]*checked{}}
	for pkg := range mayImport {
		c := l.check(pkg)
		for _, f := range c.files {
			ast.Inspect(f.File, func(n ast.Node) bool {
				var targets []ast.Expr
				switch n := n.(type) {
				case *ast.AssignStmt:
					targets = n.Lhs
				case *ast.IncDecStmt:
					targets = []ast.Expr{n.X}
				}
				for _, target := range targets {
					if name := packageVariable(c, target); name != "" {
						t.Errorf("%s: package variable %s is changed", fset.Position(n.Pos()), name)
					}
				}
				return true
			})
		}
	}
}

// packageVariable is the name of the package variable that an expression reaches into, "" where it is none.
func packageVariable(c *checked, x ast.Expr) string {
	for {
		switch e := x.(type) {
		case *ast.IndexExpr:
			x = e.X
		case *ast.SelectorExpr:
			x = e.X
		case *ast.StarExpr:
			x = e.X
		case *ast.ParenExpr:
			x = e.X
		case *ast.Ident:
			if v, ok := c.info.Uses[e].(*types.Var); ok && v.Parent() == c.types.Scope() {
				return v.Name()
			}
			return ""
		default:
			return ""
		}
	}
}
