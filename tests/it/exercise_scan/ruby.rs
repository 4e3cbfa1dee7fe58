//! What the scan of Ruby sources finds.

use super::{RUBY, assert_found, scan};

/// A gem whose modules find their parts by the names of constants.
#[test]
fn ruby_constants_name_features_of_their_modules() {
    let lib = "
module ActiveThing
  extend ActiveSupport::Autoload
  autoload :StatementCache
  autoload :HTMLPart, 'active_thing/named'
  eager_autoload do
    autoload :Column
  end
  module Adapters
    class Pool::Inner
      autoload :Deep
    end
    autoload_under 'abstract' do
      autoload :Savepoint
    end
    autoload_at 'active_thing/adapters/all' do
      autoload :One
      autoload :Two
    end
  end
end";
    let files = [
        ("app.rb", "$:.unshift('lib'); require 'active_thing'"),
        ("lib/active_thing.rb", lib),
        ("lib/active_thing/statement_cache.rb", "require 'json/add/ostruct'"),
        ("lib/active_thing/named.rb", ""),
        ("lib/active_thing/column.rb", ""),
        ("lib/active_thing/adapters/pool/inner/deep.rb", ""),
        ("lib/active_thing/adapters/abstract/savepoint.rb", ""),
        ("lib/active_thing/adapters/all.rb", ""),
        ("lib/active_thing/savepoint.rb", ""),
        ("lib/active_thing/unused.rb", ""),
    ];
    let found = scan(RUBY, "ruby_scan.rb", &files, &["app.rb", "lib/active_thing.rb"]);
    let there =
        ["statement_cache", "column", "adapters/pool/inner/deep", "adapters/abstract/savepoint", "adapters/all"];
    let there = there.map(|name| format!("file @/lib/active_thing/{name}.rb"));
    let not = ["file @/lib/active_thing/savepoint.rb", "file @/lib/active_thing/unused.rb"];
    assert_found(&found, &there.each_ref().map(String::as_str), &not);
    assert_found(&found, &["feature active_thing/named", "feature json/add/ostruct"], &[]);
}

#[test]
fn ruby_sources_name_features_in_any_scope() {
    let app = "
require 'set' # require 'comment'
module Own
  autoload :Late, File.expand_path('own/late', __dir__)
  autoload :Other, File.join(File.dirname(__FILE__), 'own', 'other')
end
def work
  require_relative 'own/work'
  require name
  text = \"require 'text'\"
  begin
    require 'weakref'
  rescue LoadError
  end
  \"\".unicode_normalize(:nfd).encode('utf-16le').force_encoding(Encoding::Shift_JIS)
  File.open('data', 'r:bom|koi8-r:utf-8') # .encode('no-such')
end
";
    let files = [
        ("app.rb", app),
        ("own/late.rb", "require 'shellwords'"),
        ("own/work.rb", "Kernel.require 'abbrev'\nrequire 'no/such/feature'\nrequire 'irb'\n"),
        ("own/unused.rb", ""),
        ("lib/used.rb", "require 'inside'"),
        ("lib/inside.rb", ""),
    ];
    let found = scan(RUBY, "ruby_scan.rb", &files, &["app.rb", "lib/used.rb"]);
    let there = [
        "feature set",
        "feature weakref",
        "feature shellwords",
        "feature abbrev",
        "feature inside",
        "feature @/own/late.rb",
        "feature @/own/work.rb",
        "feature unicode_normalize/normalize",
        "encoding UTF-16LE",
        "encoding Shift_JIS",
        "encoding KOI8-R",
        "path @/lib",
        "names of features are made at run time (@/app.rb:9): only a probe can reach those",
    ];
    assert_found(
        &found,
        &there,
        &[
            "feature comment",
            "feature text",
            "feature pp",
            "feature @/own/unused.rb",
            "feature no/such/feature",
            "encoding no-such",
        ],
    );
}
