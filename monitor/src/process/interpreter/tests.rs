use super::*;

/// A command line split at spaces; `TEXT` stands for a program text.
fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// The name of what runs; `-` for none. The first word is the executable's path and `argv[0]`.
fn assert_runs(table: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (line, expected) in table {
        let argv = words(line);
        let run = runs(paths::base_name(&argv[0]), &argv);
        let name = run.map_or("", Runs::name);
        let name = if name.is_empty() { "-" } else { name };
        if name != *expected {
            wrong.push(format!("{line}: {name} ({run:?}), not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn shells() {
    assert_runs(&[
        ("/bin/bash /opt/x.sh", "x.sh"),
        ("bash x.sh -e y.sh", "x.sh"),
        ("bash -e x.sh", "x.sh"),
        ("bash -eu x.sh", "x.sh"),
        ("bash -euo pipefail x.sh", "x.sh"),
        ("bash -eo pipefail -u x.sh a b", "x.sh"),
        ("bash -ooe pipefail errtrace x.sh", "x.sh"),
        ("bash -o pipefail -o errexit x.sh", "x.sh"),
        ("bash +o history x.sh", "x.sh"),
        ("bash +x x.sh", "x.sh"),
        ("bash +xe -u x.sh", "x.sh"),
        ("bash + x.sh", "x.sh"),
        ("bash -O extglob x.sh", "x.sh"),
        ("bash +O extglob x.sh", "x.sh"),
        ("bash -eO extglob x.sh", "x.sh"),
        ("bash --rcfile F x.sh", "x.sh"),
        ("bash -rcfile F x.sh", "x.sh"),
        ("bash --init-file /etc/rc x.sh", "x.sh"),
        ("bash --norc --noprofile x.sh", "x.sh"),
        ("bash --posix -e x.sh", "x.sh"),
        ("bash -login x.sh", "x.sh"),
        ("bash -l x.sh", "x.sh"),
        ("bash -i x.sh", "x.sh"),
        ("bash --debugger x.sh", "x.sh"),
        ("bash -- x.sh", "x.sh"),
        ("bash -e -- -x.sh", "-x.sh"),
        ("bash - x.sh", "x.sh"),
        ("bash -c TEXT", "-"),
        ("bash -c TEXT x.sh", "-"),
        ("bash -lc TEXT", "-"),
        ("bash -ce TEXT x", "-"),
        ("bash -ec TEXT", "-"),
        ("bash -c -e TEXT", "-"),
        ("bash -euo pipefail -c TEXT", "-"),
        ("bash -euxo pipefail -c TEXT name", "-"),
        ("bash --norc -c TEXT", "-"),
        ("bash -s x.sh", "-"),
        ("bash -es x y", "-"),
        ("bash", "-"),
        ("bash -i", "-"),
        ("bash -o", "-"),
        ("bash --rcfile F", "-"),
        ("bash --rcfile F -i", "-"),
        ("bash -", "-"),
        ("bash --", "-"),
        ("bash /dev/fd/63", "-"),
        ("bash /dev/fd/3 x", "-"),
        ("bash /proc/self/fd/3", "-"),
        ("bash /proc/4711/fd/3", "-"),
        ("bash /dev/stdin", "-"),
        ("bash /dev/fd/3/x.sh", "x.sh"),
        ("bash ./x.sh", "x.sh"),
        ("bash /opt/a/../3", "3"),
        ("bash 3", "3"),
        ("bash5 x.sh", "x.sh"),
        ("bash-static -e x.sh", "x.sh"),
        ("rbash -e x.sh", "x.sh"),
        ("dash -e x.sh", "x.sh"),
        ("dash -eo pipefail x.sh", "x.sh"),
        ("dash +e x.sh", "x.sh"),
        ("dash -c TEXT x", "-"),
        ("dash -s x", "-"),
        ("dash - x.sh", "x.sh"),
        ("sh -ex x.sh", "x.sh"),
        ("sh x", "x"),
        ("ash -l x.sh", "x.sh"),
        ("ksh93 -o pipefail x.ksh", "x.ksh"),
        ("ksh -opipefail x.ksh", "x.ksh"),
        ("ksh93 -R /tmp/xref x.ksh", "x.ksh"),
        ("ksh -c TEXT", "-"),
        ("mksh -T /dev/tty1 x.sh", "x.sh"),
        ("mksh -o posix -e x.sh", "x.sh"),
        ("mksh-static -e x.sh", "x.sh"),
        ("lksh x.sh", "x.sh"),
        ("zsh -f x.zsh", "x.zsh"),
        ("zsh -o extendedglob x.zsh", "x.zsh"),
        ("zsh -oextendedglob x.zsh", "x.zsh"),
        ("zsh -feo pipefail x.zsh", "x.zsh"),
        ("zsh +o nomatch x.zsh", "x.zsh"),
        ("zsh --no-rcs x.zsh", "x.zsh"),
        ("zsh --emulate sh x.sh", "x.sh"),
        ("zsh -b -x.zsh", "-x.zsh"),
        ("zsh -fc TEXT", "-"),
        ("zsh -c TEXT x", "-"),
        ("zsh5 x.zsh", "x.zsh"),
        ("zsh-5.9 -i", "-"),
        ("fish x.fish", "x.fish"),
        ("fish -N x.fish", "x.fish"),
        ("fish -C TEXT x.fish", "x.fish"),
        ("fish --init-command=TEXT x.fish", "x.fish"),
        ("fish -d 3 x.fish", "x.fish"),
        ("fish --profile /tmp/p x.fish", "x.fish"),
        ("fish -c TEXT x", "-"),
        ("fish --command TEXT x", "-"),
        ("fish -i", "-"),
    ]);
}

#[test]
fn busybox_and_the_loader() {
    assert_runs(&[
        ("busybox sh x.sh", "x.sh"),
        ("busybox ash -eu x.sh", "x.sh"),
        ("/bin/busybox sh -c TEXT", "sh"),
        ("busybox sh", "sh"),
        ("busybox.static sleep 9", "sleep"),
        ("busybox-x86_64 sleep 9", "sleep"),
        ("busybox sleep 9", "sleep"),
        ("busybox httpd -f -p 80", "httpd"),
        ("busybox", "-"),
        ("busybox --list", "-"),
        ("toybox nc -l 80", "nc"),
        ("/lib64/ld-linux-x86-64.so.2 /usr/bin/foo x", "foo"),
        (
            "/lib64/ld-linux-x86-64.so.2 --library-path /opt/lib /opt/bin/foo",
            "foo",
        ),
        ("ld-2.31.so --argv0 bar /opt/bin/foo", "foo"),
        ("ld-linux-x86-64.so.2 /usr/bin/python3 -u x.py", "x.py"),
        ("ld-musl-x86_64.so.1 /usr/bin/foo", "foo"),
    ]);
    for (argv, expected) in [
        ("sh x.sh", "x.sh"),
        ("/bin/sh -e x.sh", "x.sh"),
        ("-sh", "sh"),
        ("sleep 9", "sleep"),
        ("/usr/sbin/crond -f", "crond"),
    ] {
        let argv = words(argv);
        let run = runs("busybox", &argv).map_or("", Runs::name);
        assert_eq!(run, expected, "{argv:?}");
    }
}

#[test]
fn python() {
    assert_runs(&[
        ("python3 /srv/x.py", "x.py"),
        ("python3.11 -u x.py", "x.py"),
        ("python3 -W ignore x.py", "x.py"),
        ("python3 -Wignore x.py", "x.py"),
        ("python3 -X dev x.py", "x.py"),
        ("python3 -Xdev x.py", "x.py"),
        ("python3 -Bu x.py", "x.py"),
        ("python3 -BuW ignore x.py", "x.py"),
        ("python3 -OO x.py -m y", "x.py"),
        ("python3 -X importtime -W error -I x.py", "x.py"),
        ("python3 --check-hash-based-pycs always x.py", "x.py"),
        ("python3 -m http.server 80", "http.server"),
        ("python3 -mhttp.server", "http.server"),
        ("python3 -um http.server", "http.server"),
        ("python3 -W ignore -m a.b -c x", "a.b"),
        ("python3 -c TEXT x.py", "-"),
        ("python3 -cTEXT", "-"),
        ("python3 -uc TEXT", "-"),
        ("python3 -ic TEXT", "-"),
        ("python3", "-"),
        ("python3 -i", "-"),
        ("python3 -W ignore", "-"),
        ("python3 -", "-"),
        ("python3 - x.py", "-"),
        ("python3 -- x.py", "x.py"),
        ("python3 -i x.py", "x.py"),
        ("python3 /srv/app/", "app"),
        ("python3 .", "-"),
        ("python3 /dev/fd/3", "-"),
        ("python3.13t x.py", "x.py"),
        ("python3.14.0rc1 x.py", "x.py"),
        ("python3.14.0b2-dbg x.py", "x.py"),
        ("python3.14rcfile x.py", "-"),
        ("python3-dbg x.py", "x.py"),
        ("python3.11-dbg -u x.py", "x.py"),
        ("python3-intel64 x.py", "x.py"),
        ("python2.7 -Q new x.py", "x.py"),
        ("python x.py", "x.py"),
        ("pypy3 --jit off x.py", "x.py"),
        ("pypy3.10 -X faulthandler x.py", "x.py"),
        ("pypy3-c -m pip", "pip"),
        (".python3.11-wrapped x.py", "x.py"),
        ("python3-exporter x.py", "-"),
        ("pythond x.py", "-"),
        ("ipython x.py", "-"),
    ]);
}

#[test]
fn perl_ruby_and_tcl() {
    assert_runs(&[
        ("perl x.pl", "x.pl"),
        ("perl -I lib x.pl", "x.pl"),
        ("perl -Ilib x.pl", "x.pl"),
        ("perl -wT x.pl", "x.pl"),
        ("perl -w -I lib -MPOSIX x.pl", "x.pl"),
        ("perl -Mlib=inc -mFoo x.pl", "x.pl"),
        ("perl -d:NYTProf x.pl", "x.pl"),
        ("perl -d x.pl", "x.pl"),
        ("perl -de 1", "-"),
        ("perl -x x.pl", "x.pl"),
        ("perl -x/srv x.pl", "x.pl"),
        ("perl -S x.pl", "x.pl"),
        ("perl -i.bak x.pl", "x.pl"),
        ("perl -CSDA x.pl", "x.pl"),
        ("perl -0777 x.pl", "x.pl"),
        ("perl -F: -lan x.pl", "x.pl"),
        ("perl -e TEXT x.pl", "-"),
        ("perl -eTEXT", "-"),
        ("perl -E TEXT", "-"),
        ("perl -wlne TEXT file", "-"),
        ("perl -pi -e TEXT file", "-"),
        ("perl -pi.bak -e TEXT file", "-"),
        ("perl -0777ne TEXT file", "-"),
        ("perl -lane TEXT", "-"),
        ("perl -MIO::Socket -e TEXT", "-"),
        ("perl -", "-"),
        ("perl", "-"),
        ("perl -- x.pl", "x.pl"),
        ("perl5.36.0 x.pl", "x.pl"),
        ("perl5.36-x86_64-linux-gnu -T x.pl", "x.pl"),
        ("ruby x.rb", "x.rb"),
        ("ruby -r json x.rb", "x.rb"),
        ("ruby -rjson x.rb", "x.rb"),
        ("ruby -I lib -w x.rb", "x.rb"),
        ("ruby -wI lib x.rb", "x.rb"),
        ("ruby -C /srv x.rb", "x.rb"),
        ("ruby -E UTF-8 x.rb", "x.rb"),
        ("ruby -EUTF-8:UTF-8 x.rb", "x.rb"),
        ("ruby --encoding utf-8 x.rb", "x.rb"),
        ("ruby --encoding=utf-8 x.rb", "x.rb"),
        ("ruby --disable gems x.rb", "x.rb"),
        ("ruby --disable=gems --yjit x.rb", "x.rb"),
        ("ruby -W0 x.rb", "x.rb"),
        ("ruby -W:no-deprecated x.rb", "x.rb"),
        ("ruby -Ku x.rb", "x.rb"),
        ("ruby -S rake test", "rake"),
        ("ruby -e TEXT x", "-"),
        ("ruby -ne TEXT x", "-"),
        ("ruby -rjson -e TEXT", "-"),
        ("ruby -", "-"),
        ("ruby", "-"),
        ("ruby3.1 /usr/bin/puma -C conf.rb", "puma"),
        ("ruby-3.3 x.rb", "x.rb"),
        ("ruby.ruby3.2 /usr/bin/puma.ruby3.2", "puma.ruby3.2"),
        ("ruby3.4-rc1 x.rb", "x.rb"),
        ("ruby.ruby x.rb", "-"),
        ("ruby.rubygems x.rb", "-"),
        ("ruby-rubocop x.rb", "-"),
        ("tclsh x.tcl", "x.tcl"),
        ("tclsh8.6 -encoding utf-8 x.tcl", "x.tcl"),
        ("tclsh -x y.tcl", "-"),
        ("tclsh", "-"),
        ("wish8.6 x.tcl -display :0", "x.tcl"),
        ("expect x.exp", "x.exp"),
        ("expect -f x.exp a", "x.exp"),
        ("expect -c TEXT x.exp", "x.exp"),
        ("expect -c TEXT", "-"),
        ("expect -d -b x.exp", "x.exp"),
        ("expect -", "-"),
    ]);
}

#[test]
fn node_deno_and_bun() {
    assert_runs(&[
        ("node x.js", "x.js"),
        ("node /srv/app/server", "server"),
        ("node .", "-"),
        ("node ./", "-"),
        ("node -r m x.js", "x.js"),
        ("node --require m x.js", "x.js"),
        ("node --require=m x.js", "x.js"),
        ("node --import m.mjs x.js", "x.js"),
        ("node --loader l.mjs x.js", "x.js"),
        ("node --experimental-loader l.mjs x.js", "x.js"),
        ("node --max-old-space-size=4096 x.js", "x.js"),
        ("node --inspect x.js", "x.js"),
        ("node --inspect=0.0.0.0:9229 x.js", "x.js"),
        ("node --inspect-port 9230 x.js", "x.js"),
        ("node --env-file .env x.js", "x.js"),
        ("node -C dev --title t x.js", "x.js"),
        ("node --enable-source-maps --no-warnings x.js -r y", "x.js"),
        ("node inspect x.js", "x.js"),
        ("node inspect --port=9229 x.js", "x.js"),
        ("node inspect -p 4711", "-"),
        ("node --run start", "start"),
        ("node -e TEXT x.js", "-"),
        ("node -p TEXT", "-"),
        ("node -pe TEXT", "-"),
        ("node --eval TEXT", "-"),
        ("node --eval=TEXT x.js", "-"),
        ("node -r m -e TEXT", "-"),
        ("node --input-type module -e TEXT", "-"),
        ("node -i", "-"),
        ("node -", "-"),
        ("node - x.js", "-"),
        ("node", "-"),
        ("node -- x.js", "x.js"),
        ("nodejs x.js", "x.js"),
        ("node20 x.js", "x.js"),
        ("node-22 x.js", "x.js"),
        ("node-v22.1.0 x.js", "x.js"),
        ("node-version x.js", "-"),
        ("node --env_file .env x.js", "x.js"),
        ("node --env_file=.env x.js", "x.js"),
        ("node --max_http_header_size 16384 x.js", "x.js"),
        ("node --max_http-header_size 16384 x.js", "x.js"),
        ("node --input_type module --ev_al x.js", "x.js"),
        ("node --trace-require-module all x.js", "x.js"),
        (
            "node --test --test-global-setup s.js --test_rerun_failures f x.js",
            "x.js",
        ),
        ("node --max-old-space-size-percentage 50 x.js", "x.js"),
        ("node_exporter --web x", "-"),
        ("deno run x.ts", "x.ts"),
        ("deno run --allow-net --allow-read=/srv x.ts", "x.ts"),
        ("deno run -A -c deno.json x.ts", "x.ts"),
        ("deno run -RW x.ts", "x.ts"),
        ("deno run -I x.ts", "x.ts"),
        ("deno run -I=jsr.io:443 x.ts", "x.ts"),
        ("deno run -NRI x.ts", "x.ts"),
        ("deno run -Ac deno.json x.ts", "x.ts"),
        ("deno run -RWc deno.json x.ts", "x.ts"),
        ("deno run -N=host:80 x.ts", "x.ts"),
        ("deno run -r x.ts", "x.ts"),
        ("deno run -L debug x.ts", "x.ts"),
        ("deno run --lock deno.lock x.ts", "x.ts"),
        ("deno run --lock=deno.lock x.ts", "x.ts"),
        ("deno run --lock --frozen x.ts", "x.ts"),
        ("deno run --lock -A x.ts", "x.ts"),
        ("deno run --frozen x.ts", "x.ts"),
        ("deno run --cpu-prof-dir /tmp x.ts", "x.ts"),
        ("deno run --importmap m.json --reload x.ts", "x.ts"),
        ("deno run --config deno.json --import-map m.json x.ts", "x.ts"),
        (
            "deno run https://deno.land/std/http/file_server.ts",
            "file_server.ts",
        ),
        ("deno run -", "-"),
        ("deno x.ts", "x.ts"),
        ("deno -A x.ts", "x.ts"),
        ("deno serve --port 8000 x.ts", "x.ts"),
        ("deno task start", "start"),
        ("deno task -c deno.json --cwd /srv start", "start"),
        ("deno eval TEXT", "-"),
        ("deno repl", "-"),
        ("deno lsp", "-"),
        ("deno", "-"),
        ("bun x.ts", "x.ts"),
        ("bun run x.ts", "x.ts"),
        ("bun run start", "start"),
        ("bun --watch run x.ts", "x.ts"),
        ("bun --cwd /srv run start", "start"),
        ("bun -r ./m.ts x.ts", "x.ts"),
        ("bun --preload ./m.ts x.ts", "x.ts"),
        ("bun --bun run --filter web start", "start"),
        ("bun x cowsay hi", "cowsay"),
        ("bun -e TEXT", "-"),
        ("bun --print TEXT", "-"),
        ("bun install", "-"),
        ("bun exec TEXT", "-"),
        ("bun", "-"),
    ]);
    let bunx = words("bunx --bun cowsay hi");
    assert_eq!(runs("bun", &bunx), Some(Runs::Module("cowsay")));
}

#[test]
fn php_lua_and_r() {
    assert_runs(&[
        ("php x.php", "x.php"),
        ("php -f x.php", "x.php"),
        ("php -fx.php", "x.php"),
        ("php --file x.php", "x.php"),
        ("php -d k=v x.php", "x.php"),
        ("php -dk=v x.php", "x.php"),
        ("php -c /etc/php.ini -n x.php", "x.php"),
        ("php -q x.php -r y", "x.php"),
        ("php -z ext.so x.php", "x.php"),
        ("php -d k=v -f x.php -- -a", "x.php"),
        ("php -r TEXT x", "-"),
        ("php -rTEXT", "-"),
        ("php -R TEXT", "-"),
        ("php -B TEXT -F x.php", "x.php"),
        ("php -S 0:80", "-"),
        ("php -S 0:80 -t public", "-"),
        ("php -S 0:80 -t public router.php", "router.php"),
        ("php -a", "-"),
        ("php", "-"),
        ("php -- x", "-"),
        ("php8.2 /srv/artisan queue:work", "artisan"),
        ("php-cli x.php", "x.php"),
        ("php-cgi8.2 x.php", "x.php"),
        ("php-cgi -b 127.0.0.1:9000", "-"),
        ("php-cgi -b127.0.0.1:9000", "-"),
        ("php-cgi --bindpath /run/php.sock", "-"),
        ("php-cgi -q -b /run/php.sock -c /etc/php", "-"),
        ("php-cgi -T 5 x.php", "x.php"),
        ("php-cgi --timing 5 -d k=v x.php", "x.php"),
        ("php-cgi -c /etc/php -f x.php", "x.php"),
        // None of these takes a value there.
        ("php-cgi -s x.php", "x.php"),
        ("php-cgi -S x.php", "x.php"),
        ("php-cgi -t x.php", "x.php"),
        ("php-cgi", "-"),
        ("php-fpm8.2 -F", "-"),
        ("lua x.lua", "x.lua"),
        ("lua5.4 -l m x.lua", "x.lua"),
        ("lua5.4 -lm x.lua", "x.lua"),
        ("lua -e TEXT x.lua", "x.lua"),
        ("lua -eTEXT x.lua", "x.lua"),
        ("lua -e TEXT", "-"),
        ("lua -i", "-"),
        ("lua -W -E x.lua", "x.lua"),
        ("lua -", "-"),
        ("lua -e TEXT -", "-"),
        ("lua", "-"),
        ("lua -- x.lua", "x.lua"),
        ("luajit -joff x.lua", "x.lua"),
        ("luajit -j off -O3 x.lua", "x.lua"),
        ("luajit-2.1.0 -O x.lua", "x.lua"),
        ("luajit-2.1.0-beta3 -joff x.lua", "x.lua"),
        ("luajit-2.1.ROLLING x.lua", "x.lua"),
        ("luajit-2.1.0-rc2-dbg x.lua", "x.lua"),
        ("luajit-2.1.0-betamax x.lua", "-"),
        (
            "/usr/lib/R/bin/exec/R --no-echo --no-restore --file=x.R --args a b",
            "x.R",
        ),
        ("R -f x.R", "x.R"),
        ("R --vanilla --file=/srv/x.R", "x.R"),
        ("R --no-echo -e TEXT --args x", "-"),
        ("R --args --file=x.R", "-"),
        ("R --encoding utf-8", "-"),
        ("R -g Tk", "-"),
        ("R", "-"),
        ("Rscript x.R a", "x.R"),
        ("Rscript --vanilla x.R", "x.R"),
        ("Rscript -e TEXT", "-"),
        ("Runner x.R", "-"),
    ]);
}

#[test]
fn java_and_dotnet() {
    assert_runs(&[
        ("java -jar /opt/shop.jar", "shop.jar"),
        ("java -Xmx1g -Dk=v -jar shop.jar --port 80", "shop.jar"),
        ("java -jar -Dk=v shop.jar", "shop.jar"),
        ("java -cp a.jar:b.jar com.example.Main x", "com.example.Main"),
        ("java -classpath /opt/lib/* com.example.Main", "com.example.Main"),
        ("java --class-path a.jar Main", "Main"),
        ("java --class-path=a.jar Main", "Main"),
        ("java -p mods -m shop/com.example.Main", "com.example.Main"),
        (
            "java -p mods --module shop/com.example.Main x",
            "com.example.Main",
        ),
        ("java --module-path mods --module=shop", "shop"),
        (
            "java --add-opens java.base/java.lang=ALL-UNNAMED -cp a.jar Main",
            "Main",
        ),
        ("java --add-modules java.sql -jar shop.jar", "shop.jar"),
        ("java -ea -server -XX:+UseZGC -javaagent:a.jar=x Main", "Main"),
        ("java Main -jar x.jar", "Main"),
        ("java Hello.java a", "Hello.java"),
        ("java --source 21 script", "script"),
        ("java --enable-preview --source 21 Hello.java", "Hello.java"),
        ("java @opts -jar shop.jar", "shop.jar"),
        ("java @opts com.example.Main 80", "com.example.Main"),
        ("java @all 8080", "-"),
        ("java @all start", "-"),
        ("java @all", "-"),
        ("java -version", "-"),
        ("java", "-"),
        ("java -jar", "-"),
        ("javaw -jar shop.jar", "shop.jar"),
        ("javac Main.java", "-"),
        ("dotnet /srv/Shop.dll a", "Shop.dll"),
        ("dotnet exec Shop.dll", "Shop.dll"),
        (
            "dotnet exec --runtimeconfig a.json --depsfile b.json Shop.dll",
            "Shop.dll",
        ),
        ("dotnet --additionalprobingpath /x Shop.dll", "Shop.dll"),
        ("dotnet --roll-forward Major Shop.dll", "Shop.dll"),
        ("dotnet run --project /srv/Shop -c Release", "Shop"),
        ("dotnet run -c Release", "-"),
        ("dotnet run", "-"),
        ("dotnet run app.cs", "app.cs"),
        ("dotnet run -c Release app.cs a.cs", "app.cs"),
        ("dotnet run a app.cs", "-"),
        ("dotnet run --file app.cs", "app.cs"),
        ("dotnet run -lp https", "-"),
        ("dotnet run -lp https --project Shop", "Shop"),
        ("dotnet run --launch-profile https", "-"),
        ("dotnet run --launch-profile=https", "-"),
        ("dotnet run -p:Configuration=Release", "-"),
        ("dotnet run -p Foo=Bar", "-"),
        ("dotnet run -p:Foo=Bar --project Shop", "Shop"),
        ("dotnet run -property:Foo=Bar --project:Shop", "Shop"),
        ("dotnet run -p Shop", "Shop"),
        ("dotnet run -p:Shop", "Shop"),
        ("dotnet run --project=/srv/Shop.csproj", "Shop.csproj"),
        ("dotnet run -c:Release -tl:off -v q --project Shop", "Shop"),
        ("dotnet run --self-contained false --project Shop", "Shop"),
        ("dotnet run --urls http://x:80 --project Shop", "Shop"),
        ("dotnet run -e A=b --no-build", "-"),
        ("dotnet run -- --project x", "-"),
        ("dotnet run --project", "-"),
        ("dotnet watch --project Shop.csproj run", "Shop.csproj"),
        ("dotnet watch run app.cs", "app.cs"),
        ("dotnet watch run run.cs", "run.cs"),
        ("dotnet watch -lp https", "-"),
        ("dotnet watch", "-"),
        ("dotnet watch run --project Shop.csproj", "Shop.csproj"),
        ("dotnet tool run foo", "foo"),
        ("dotnet build Shop.sln", "-"),
        ("dotnet", "-"),
    ]);
}

#[test]
fn erlang() {
    let start = "/usr/lib/erlang/erts/bin/beam.smp -W w -P 1048576 -- -root /usr/lib/erlang";
    for (line, expected) in [
        (
            "-progname erl -- -home /var -- -noshell -s rabbit boot -boot start_sasl",
            "rabbit",
        ),
        (
            "-progname /opt/shop/bin/shop -- -home /root -- -boot start -s x",
            "shop",
        ),
        (
            "-progname erl -- -home /x -- -sname ejabberd@localhost -s ejabberd",
            "ejabberd",
        ),
        (
            "-progname erl -- -home /x -- -boot /opt/shop/releases/1.0/shop -name s@h",
            "shop",
        ),
        (
            "-progname erl -- -home /x -- -sname shop@host -noshell -s elixir start_cli -extra --no-halt",
            "shop",
        ),
        (
            "-progname erl -- -home /x -- -noshell -run escript start -extra ./x.escript a",
            "x.escript",
        ),
        (
            "-progname erl -- -noshell -elixir_root /e -s elixir start_cli -extra /usr/bin/mix phx.server",
            "mix",
        ),
        (
            "-progname erl -- -noshell -s elixir start_cli -extra -S mix test",
            "mix",
        ),
        (
            "-progname erl -- -noshell -s elixir start_cli -extra -e TEXT",
            "-",
        ),
        (
            "-progname erl -- -noshell -s elixir start_cli -extra -pa ebin x.exs",
            "x.exs",
        ),
        ("-progname erl -- -home /root --", "-"),
        ("-progname erl -- -home /root -- -noshell -s init stop", "-"),
    ] {
        assert_runs(&[(&format!("{start} {line}"), expected)]);
    }
}

#[test]
fn what_is_no_interpreter_runs_nothing_known() {
    for exe in [
        "nginx",
        "ssh",
        "bashful",
        "rubyd",
        "nodemon",
        "javascript",
        "php-fpm",
        "luac",
        "shfmt",
        "dashd",
        "",
    ] {
        assert_eq!(runs(exe, &words("x -c y z")), None, "{exe}");
    }
    // An executable that cannot be read goes by argv[0].
    assert_eq!(
        runs("", &words("/usr/bin/python3 x.py")),
        Some(Runs::Script("x.py"))
    );
    assert_eq!(runs("", &words("-bash")), Some(Runs::Nothing));
}

#[test]
fn no_argument_vector_is_too_strange() {
    let strange = [
        "", "-", "--", "+", "-=", "--=", "-\u{e9}", "@", "-o", "-c", "/", "//", "\u{fffd}", " x ", "--x=y=z",
    ];
    for (names, _) in FAMILIES {
        for name in *names {
            assert!(runs(name, &[]).is_some(), "{name}");
            for one in strange {
                for two in strange {
                    let argv = [name, one, two, one].map(str::to_owned);
                    for length in 1..=argv.len() {
                        let run = runs(name, &argv[..length]).map(Runs::name);
                        assert!(run.is_some(), "{argv:?}");
                    }
                }
            }
        }
    }
}

/// The quick no against the tables themselves, on the names of all families and on what is near them.
#[test]
fn a_quick_no_leaves_no_interpreter_out() {
    let stems: Vec<&str> = FAMILIES
        .iter()
        .flat_map(|(names, _)| names.iter().copied())
        .chain([
            "busybox",
            "toybox",
            "ld-linux.so.2",
            "nginx",
            "storm",
            "Run",
            "r",
            "",
        ])
        .collect();
    let mut yes = 0;
    for stem in stems {
        for ending in ["", "3", "3.11", "-3.2", "-static", ".real", "x", "-wrapped"] {
            for front in ["", ".", "x", "-"] {
                let name = format!("{front}{stem}{ending}");
                let in_tables = family(&name).is_some()
                    || is_called(&name, "busybox")
                    || is_called(&name, "toybox")
                    || is_loader(&name);
                assert_eq!(is_interpreter(&name), in_tables, "{name:?}");
                yes += usize::from(in_tables);
            }
        }
    }
    assert!(yes > 200, "{yes} names of interpreters");
}
