-- Says where an error comes from: its class, and the innermost frame of the application, such as `ValueError in charge (shop/billing.py)`. The
-- message and the number of the line are left out, because they change from job to job and from version to version.
-- Frames of Python, of installed packages and of pgqueue are not the application's. If an error has causes, only the frames of the error
-- itself count. Without a class, the origin is the first line of the text without its numbers and what is in brackets.
-- (Sentry and other trackers group errors in a similar way.) Reads the last 4,000 characters of the traceback, and all of it only if these
-- have no frame of the application.
create or replace function pgqueue.error_origin(error text, traceback text)
returns text
language plpgsql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $function$
declare
    kind  text := substring(left(error, 200) from '^[A-Za-z_][A-Za-z0-9_.]*');
    whole text;
    parts text[];
    path  text;
begin
    -- One regular expression for all of this, with a limit for the length, takes twenty times as long.
    if length(kind) > 128 or substr(left(error, 200), length(kind) + 1) !~ '^(:|[[:space:]]*$)' then
        kind := null;
    end if;
    if kind is null then
        return left(regexp_replace(split_part(left(error, 500), chr(10), 1), '[0-9]+|[(][^()]*[)]', '…', 'g'), 120);
    end if;
    foreach whole in array array[right(traceback, 4000), traceback] loop
        parts := string_to_array(whole, 'File "');  -- regular expressions over the whole text would take a hundred times longer
        for place in reverse coalesce(cardinality(parts), 0) .. 2 loop
            path := replace(split_part(parts[place], '"', 1), chr(92), '/');  -- chr(92) is the backslash of Windows
            if path !~ '(site|dist)-packages|/lib/python[0-9.]+/|/Lib/|^<'
               and path !~ '/pgqueue/(worker|app|database|model|workflows|runtime|telemetry|text)/' then
                return kind || ' in ' || left(split_part(split_part(parts[place], chr(10), 1), ', in ', 2), 200)
                       || ' (' || array_to_string((string_to_array(path, '/'))[greatest(
                           cardinality(string_to_array(path, '/')) - 1, 1):], '/') || ')';
            end if;
            exit when strpos(parts[place - 1], 'Traceback (most recent call last):') > 0;
        end loop;
        exit when length(traceback) <= 4000;
    end loop;
    return kind;
end
$function$;
